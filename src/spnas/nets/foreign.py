"""Weights that others trained -> ours, by a rule on names: the field's ResNets and ResNeXts, and our own files.

Source: the names are those of torchvision's `resnet.py`, which timm and the published checkpoints share. Arithmetic
and its order are the same as there, so features are too, bit for bit.
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from spnas.errors import UsageError

LARGEST_BYTES = 16 << 30
_STEM = re.compile(r"(.*?)(?:conv1|stem\.0)\.weight")
_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(?:(conv|bn)(\d)|downsample\.(\d))\.(\w+)")
_HEAD = re.compile(r"(?:module\.|model\.)?fc\.(weight|bias)")
_WRAPPERS = ("state_dict", "model", "model_state_dict")
_SHOWN = 4


def read_pth(path: Path) -> dict[str, Tensor]:
    """Read a state dict that torch wrote; the one place where such a file is opened, and nothing in it is executed.

    Raises: UsageError when there is none, when it holds more than tensors and plain values, or is damaged.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; give a .pth or .safetensors file of weights")
    if path.stat().st_size > LARGEST_BYTES:
        raise UsageError(f"{path}: {path.stat().st_size >> 30} GiB; at most {LARGEST_BYTES >> 30} GiB are read")
    try:
        with warnings.catch_warnings():  # about protocols that torch's safe reader may not know: we say it below
            warnings.simplefilter("ignore", UserWarning)
            found = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as fault:
        reason = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
        raise UsageError(
            f"{path}: not a plain state dict ({reason[:120]}); save one with torch.save(model.state_dict(), ...)"
        ) from None
    for wrapper in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise UsageError(f"{path}: holds no mapping of names to tensors; save model.state_dict()")
    return {str(name): value for name, value in found.items()}


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the backbone's tensors under our names; heads, and what lies outside the backbone, are left out.

    Raises: UsageError when there is no stem to recognise a backbone by.
    """
    stems = [match for name in state if (match := _STEM.fullmatch(name)) and not re.search(r"layer|stages", match[1])]
    if not stems:
        shown = ", ".join(list(state)[:_SHOWN])
        raise UsageError(f"no conv1.weight or stem.0.weight among the names ({shown}, ...); give weights of a ResNet")
    prefix = min((match[1] for match in stems), key=len)
    inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return {_our_name(name): value for name, value in inside.items() if not _HEAD.fullmatch(name)}


def _our_name(name: str) -> str:
    """Translate one name; one that the rule does not know stays as it is."""
    if match := re.fullmatch(r"(?:conv1|bn1)\.(\w+)", name):
        return f"stem.{int(name.startswith('bn1'))}.{match[1]}"
    if match := _BLOCK.fullmatch(name):
        stage, block, kind, number, shortcut, leaf = match.groups()
        place = f"shortcut.{shortcut}" if shortcut else f"conv{number}.{int(kind == 'bn')}"
        return f"stages.{int(stage) - 1}.{block}.{place}.{leaf}"
    return name


def head_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `weight` and `bias` of a classifier's layer `fc`, as far as they are there."""
    return {match[1]: value for name, value in state.items() if (match := _HEAD.fullmatch(name))}


@torch.no_grad()
def load_foreign(backbone: nn.Module, state: Mapping[str, Tensor], *, source: str = "weights") -> None:
    """Fill `backbone` with weights under their makers' names or ours; counters of BN batches may be missing.

    Raises: UsageError that names what is missing, unknown or of another shape; nothing is loaded then.
    """
    got, wanted = translate(state), backbone.state_dict()
    missing = [n for n in wanted if n not in got and not n.endswith("num_batches_tracked")]
    unknown = [n for n in got if n not in wanted]
    unlike = [
        f"{n} {tuple(got[n].shape)} instead of {tuple(v.shape)}"
        for n, v in wanted.items()
        if n in got and got[n].shape != v.shape
    ]
    faults = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for names, what in ((missing, "missing"), (unknown, "unknown"), (unlike, "of another shape"))
        if names
    ]
    if faults:
        raise UsageError(
            f"{source}: tensors do not suit this backbone: {'; '.join(faults)}; "
            "build the architecture they belong to, then start others from it with spnas.warm_start"
        )
    backbone.load_state_dict(got, strict=False)
