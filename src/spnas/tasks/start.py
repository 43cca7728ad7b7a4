"""How a training begins: with fresh weights, or with what another one, here or elsewhere, has learned."""

from pathlib import Path
from typing import cast

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from spnas.arch.published import arch_of
from spnas.errors import UsageError
from spnas.hub import NOTE as BACKBONE_NOTE
from spnas.hub import read_weights
from spnas.models import warm_start
from spnas.nets.backbone import Backbone
from spnas.nets.foreign import load_foreign
from spnas.runs.files import sha256
from spnas.runs.folder import model_in
from spnas.train.described import WEIGHTS
from spnas.train.weights import NOTE as DETECTOR_NOTE
from spnas.train.weights import ModelConfig, build, load_model


class Start(msgspec.Struct, frozen=True):
    """A model or a file of weights, and the SHA-256 of the file that has them."""

    path: str
    sha256: str


def start_of(given: str | None) -> Start | None:
    """Return what `--from` names, of a run or a study its best model. Raises: UsageError when it is not there."""
    if given is None:
        return None
    path = model_in(Path(given).absolute())
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"--from {given}: no such model; give a folder of ours, or a .safetensors or .pth file")
    return Start(str(path), sha256(file))


def begin(
    config: ModelConfig, start: Start | None, *, seed: int, other_archs: bool = True
) -> tuple[nn.Module, ModelConfig, str]:
    """Build a detector with the weights it begins with, and say which of them are not fresh.

    Of a detector of ours, all is taken where architecture, detector and classes are the same, else its backbone; of
    other weights, the backbone. A backbone of another architecture fills what the two have in common, or is refused
    without `other_archs`.

    Raises: UsageError when the weights do not suit; IntegrityError when they are damaged.
    """
    if start is None:
        return build(config, seed=seed), config, "fresh weights"
    path, arch = Path(start.path), arch_of(config.arch)
    if is_detector(path):
        old, theirs = load_model(path)
        alike = msgspec.structs.replace(config, projections=theirs.projections, tied=theirs.tied)
        if msgspec.structs.replace(theirs, resize=alike.resize, metrics={}, category_ids=alike.category_ids) == alike:
            young = build(alike, seed=seed)
            young.load_state_dict(old.state_dict())
            return young, alike, f"all weights of {path}"
        source = cast(Backbone, old.backbone)
    else:
        given = read_weights(path)
        source = Backbone(given.arch or arch, projections=given.projections, tied=given.tied)
        load_foreign(source, given.tensors, source=str(path))
    if source.arch != arch:
        if not other_archs:
            raise UsageError(f"{path}: weights of {source.arch}, not of {arch}; name that architecture")
        young = build(config, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            warm_start(young.backbone, source)  # type: ignore[arg-type]
        return young, config, f"what {path} ({source.arch}) has in common with the backbone"
    alike = msgspec.structs.replace(config, projections=tuple(sorted(source.projections)), tied=source.tied)
    young = build(alike, seed=seed)
    cast(Backbone, young.backbone).load_state_dict(source.state_dict())
    return young, alike, f"the backbone of {path}"


def load_detector(source: Path) -> tuple[nn.Module, ModelConfig]:
    """Load a model, or the best one of a study. Raises: UsageError, IntegrityError."""
    refuse_onnx(source)
    return load_model(model_in(source))


def refuse_onnx(path: Path) -> None:
    """Raises: UsageError for an ONNX file, where torch has to load a model."""
    if path.suffix.lower() == ".onnx" and path.is_file():
        raise UsageError(f"{path}: is an ONNX file, which predict alone takes; give the model it was exported from")


def is_detector(path: Path) -> bool:
    """Whether a file, or the weights in a folder, say that they are a detector of ours."""
    return DETECTOR_NOTE in _notes(path)


def says_its_arch(path: Path) -> bool:
    """Whether a file, or the weights in a folder, say which backbone of ours they are of."""
    return bool({DETECTOR_NOTE, BACKBONE_NOTE} & _notes(path).keys())


def _notes(path: Path) -> dict[str, str]:
    try:
        with safe_open(path / WEIGHTS if path.is_dir() else path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, FileNotFoundError):
        return {}
