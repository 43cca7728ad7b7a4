"""Backbones in folders and on the Hugging Face Hub: `config.json` and `model.safetensors`, nothing ever unpickled."""

import importlib
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from spnas.arch import Arch, parse
from spnas.errors import IntegrityError, UsageError
from spnas.nets.backbone import Backbone
from spnas.nets.features import Classifier, Features
from spnas.nets.foreign import load_foreign, read_pth
from spnas.runs.files import faults_named, write_atomic
from spnas.train.described import CONFIG, MANIFEST, WEIGHTS, weights_of
from spnas.train.weights import NOTE as DETECTOR_NOTE
from spnas.train.weights import load_model

SCHEMA = 1
NOTE = "spnas-backbone"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is needed to build a backbone again, beside its weights.

    projections: blocks whose shortcut is a projection by descent (see `spnas.morph`).
    tied: whether parallel copies share the weights of their stage.
    num_classes: of a classifier; None for feature maps.
    """

    schema: int = SCHEMA
    arch: str
    projections: tuple[int, ...] = ()
    tied: bool = False
    num_classes: int | None = None
    out_indices: tuple[int, ...] | None = None


class Weights(NamedTuple):
    """Tensors from a file, with the architecture and what `Card` says of it where the file does."""

    tensors: dict[str, Tensor]
    arch: Arch | None = None
    projections: frozenset[int] = frozenset()
    tied: bool = False


def save_pretrained(model: nn.Module, folder: str | Path) -> Path:
    """Write what `spnas.create_model` made, or a bare backbone, as two files, and return the folder.

    Raises: UsageError for another model; ResourceError when the disk is full.
    """
    if isinstance(model, Backbone):
        model = Features(model)
    if not isinstance(model, Features | Classifier):
        raise UsageError(f"{type(model).__name__} cannot be saved here; give a model that spnas.create_model made")
    net = model.backbone
    card = Card(
        arch=net.arch.text,
        projections=tuple(sorted(net.projections)),
        tied=net.tied,
        num_classes=model.num_classes if isinstance(model, Classifier) else None,
        out_indices=model.feature_info.out_indices if isinstance(model, Features) else None,
    )
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    note = msgspec.json.encode(card)
    folder = Path(folder)
    with faults_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / WEIGHTS, save(tensors, {NOTE: note.decode()}))
    write_atomic(folder / CONFIG, msgspec.json.format(note, indent=2) + b"\n")
    return folder


def from_pretrained(folder_or_hub_id: str | Path, *, revision: str | None = None) -> Features | Classifier:
    """Load what `save_pretrained` wrote, or the backbone of a detector or classifier of ours, in evaluation mode.

    Args:
        folder_or_hub_id: a folder, or an id such as `someone/spnet-for-boats` on the Hugging Face Hub.
        revision: branch, tag or commit on the Hub.

    Raises: UsageError when it is neither; IntegrityError when tensors do not suit the architecture they come with.
    """
    folder = Path(folder_or_hub_id)
    if not folder.is_dir():
        folder = _download(str(folder_or_hub_id), revision)
    if (folder / MANIFEST).exists():
        return Features(_backbone_of(read_weights(folder), folder)).eval()
    card, tensors = _read_folder(folder)
    return _build(card, tensors, folder).eval()


def push_to_hub(model: nn.Module, repo_id: str, *, private: bool = False, message: str = "Add a backbone") -> str:
    """Upload a model to the Hugging Face Hub, as the user that `hf auth login` knows, and return its address.

    Raises: UsageError without the extra `hub`, and for what `save_pretrained` refuses.
    """
    if not _HUB_ID.fullmatch(repo_id):
        raise UsageError(f"{repo_id!r} is not the name of a repository; give one such as someone/spnet-for-boats")
    api = _hub().HfApi()
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return str(address)


def read_weights(path: Path) -> Weights:
    """Read weights from a folder of ours, a .safetensors file of anyone's, or a .pth file.

    Raises: UsageError when it is none of them; IntegrityError when a file of ours is damaged.
    """
    if path.is_dir() and (path / MANIFEST).exists():
        return read_weights(weights_of(path, what="model"))
    if path.is_dir():
        card, tensors = _read_folder(path)
        return Weights(tensors, parse(card.arch), frozenset(card.projections), card.tied)
    if path.suffix != ".safetensors":
        return Weights(read_pth(path))
    tensors, notes = _read_safetensors(path)
    if DETECTOR_NOTE in notes:
        return _of_detector(path)
    if NOTE in notes:
        card = _read_card(path, notes[NOTE].encode())
        return Weights(tensors, parse(card.arch), frozenset(card.projections), card.tied)
    return Weights(tensors)


def _backbone_of(given: Weights, folder: Path) -> Backbone:
    if given.arch is None:
        raise UsageError(f"{folder / WEIGHTS}: does not say which backbone it is of; give a folder that spnas wrote")
    backbone = Backbone(given.arch, projections=given.projections, tied=given.tied)
    load_foreign(backbone, given.tensors, source=str(folder))
    return backbone


def _of_detector(path: Path) -> Weights:
    backbone = cast(Backbone, load_model(path)[0].backbone)
    return Weights(backbone.state_dict(), backbone.arch, backbone.projections, backbone.tied)


def _read_folder(folder: Path) -> tuple[Card, dict[str, Tensor]]:
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise UsageError(f"{folder}: no {CONFIG} and {WEIGHTS} in it; give a folder that save_pretrained wrote")
    card = _read_card(folder / CONFIG, (folder / CONFIG).read_bytes())
    tensors, _ = _read_safetensors(folder / WEIGHTS)
    return card, tensors


def _read_card(path: Path, note: bytes) -> Card:
    try:
        card = msgspec.json.decode(note, type=Card)
    except msgspec.DecodeError as fault:
        raise UsageError(f"{path}: does not describe a backbone of ours ({fault})") from None
    if card.schema > SCHEMA:
        raise UsageError(f"{path}: written by a newer spnas (schema {card.schema}); this one reads up to {SCHEMA}")
    return card


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise UsageError(f"{path}: no such file; give a .pth or .safetensors file of weights")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as fault:
        raise IntegrityError(f"{path}: not a whole safetensors file ({fault}); restore it or save it again") from None


def _build(card: Card, tensors: dict[str, Tensor], folder: Path) -> Features | Classifier:
    """Build without memory first: a file cannot make us allocate more than it holds itself."""
    model: Features | Classifier
    with torch.device("meta"):
        backbone = Backbone(parse(card.arch), projections=frozenset(card.projections), tied=card.tied)
        if card.num_classes is None:
            model = Features(backbone, out_indices=card.out_indices)
        else:
            model = Classifier(backbone, num_classes=card.num_classes)
    wanted = {name: (value.shape, value.dtype) for name, value in model.state_dict().items()}
    got = {name: (value.shape, value.dtype) for name, value in tensors.items()}
    if wrong := sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name)):
        raise IntegrityError(
            f"{folder / WEIGHTS}: tensor {wrong[0]!r} and {len(wrong) - 1} more do not suit {card.arch!r}; "
            "restore the folder or save it again"
        )
    model.load_state_dict(tensors, assign=True)
    return model


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise UsageError("the Hugging Face Hub needs an extra: pip install 'spnas[hub]'") from None


def _download(repo_id: str, revision: str | None) -> Path:
    if not _HUB_ID.fullmatch(repo_id):
        raise UsageError(f"{repo_id}: no such folder, and not an id such as someone/spnet-for-boats either")
    return Path(_hub().snapshot_download(repo_id, revision=revision, allow_patterns=[CONFIG, WEIGHTS, MANIFEST]))
