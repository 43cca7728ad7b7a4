"""A trained classifier on disk: a safetensors file that says what it is, and the bundle a user takes away."""

from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from spnas.arch import parse
from spnas.errors import IntegrityError, UsageError
from spnas.nets.backbone import Backbone
from spnas.nets.classifier import PictureClassifier
from spnas.runs.files import sha256, write_atomic
from spnas.train.weights import Manifest

SCHEMA = 1
NOTE = "spnas-classifier"
BACKBONE_NOTE = "spnas-backbone"  # what `spnas.create_model(pretrained_path=...)` and exports look for
WEIGHTS = "model.safetensors"


class ClassifierConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is needed to build the classifier again and to read its answers.

    projections, tied: as in `train.weights.ModelConfig`. side: of the squares it was trained on, in pixels.
    """

    schema: int = SCHEMA
    arch: str
    projections: tuple[int, ...] = ()
    tied: bool = False
    classes: tuple[str, ...]
    side: int
    metrics: dict[str, float] = {}


def save_classifier(path: Path, classifier: PictureClassifier, config: ClassifierConfig) -> str:
    """Write one self-describing file and return its SHA-256."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in classifier.state_dict().items()}
    card = {
        "schema": 1,
        "arch": config.arch,
        "projections": config.projections,
        "tied": config.tied,
        "num_classes": len(config.classes),
    }
    notes = {NOTE: msgspec.json.encode(config).decode(), BACKBONE_NOTE: msgspec.json.encode(card).decode()}
    write_atomic(path, _in_order(save(tensors, notes)))
    return sha256(path)


def _in_order(data: bytes) -> bytes:
    """Put the notes of a safetensors file in order: the library writes them in one that changes from call to call."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = msgspec.json.decode(data[8:end], type=dict[str, msgspec.Raw])
    notes = msgspec.json.decode(header["__metadata__"], type=dict[str, str])
    ordered = msgspec.json.encode(header | {"__metadata__": dict(sorted(notes.items()))})
    ordered += b" " * (-len(ordered) % 8)  # tensors begin at a multiple of 8 bytes
    return len(ordered).to_bytes(8, "little") + ordered + data[end:]


def write_classifier_bundle(folder: Path, classifier: PictureClassifier, config: ClassifierConfig) -> None:
    """Write the files of a bundle into `folder`, which exists: config.json, model.safetensors, manifest.json."""
    save_classifier(folder / WEIGHTS, classifier, config)
    write_atomic(folder / "config.json", msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
    sums = {name: sha256(folder / name) for name in ("config.json", WEIGHTS)}
    write_atomic(folder / "manifest.json", msgspec.json.encode(Manifest(sums)))


def load_classifier(path: Path, *, digest: str | None = None) -> tuple[PictureClassifier, ClassifierConfig]:
    """Load a bundle, or a file of its kind, in evaluation mode.

    Raises: UsageError when it is not ours; IntegrityError when a hash, a name or a shape is not what it should be.
    """
    if path.is_dir():
        path, digest = path / WEIGHTS, _recorded(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such classifier; give a folder or file that 'spnas classify train' wrote")
    if digest is not None and sha256(path) != digest:
        raise IntegrityError(f"{path}: its SHA-256 is not the one recorded; the file was changed or damaged")
    try:
        with safe_open(path, framework="pt") as file:
            note = (file.metadata() or {}).get(NOTE)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as fault:
        raise IntegrityError(f"{path}: not a whole safetensors file ({fault}); restore it or train again") from None
    if note is None:
        raise UsageError(f"{path}: a safetensors file, but not a classifier of ours")
    config = _read_config(path, note.encode())
    with torch.device("meta"):  # a file cannot make us allocate more than it holds itself
        backbone = Backbone(parse(config.arch), projections=frozenset(config.projections), tied=config.tied)
        classifier = PictureClassifier(backbone, classes=len(config.classes))
    wanted = {name: (value.shape, value.dtype) for name, value in classifier.state_dict().items()}
    got = {name: (value.shape, value.dtype) for name, value in tensors.items()}
    if wrong := sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name)):
        raise IntegrityError(f"{path}: tensor {wrong[0]!r} and {len(wrong) - 1} more do not suit the network it names")
    classifier.load_state_dict(tensors, assign=True)
    return classifier.eval(), config


def _recorded(folder: Path) -> str:
    """Return the hash that a bundle's manifest gives its weights, once its other file is known to be whole."""
    try:
        sums = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest).sha256
    except (OSError, msgspec.DecodeError):
        raise UsageError(f"{folder}: no readable manifest.json; a classifier is it, config.json, {WEIGHTS}") from None
    for name in ("config.json", WEIGHTS):
        if not (folder / name).is_file() or sha256(folder / name) != sums.get(name):
            raise IntegrityError(f"{folder / name}: missing, or not what manifest.json says; restore or train again")
    return sums[WEIGHTS]


def _read_config(path: Path, note: bytes) -> ClassifierConfig:
    try:
        config = msgspec.json.decode(note, type=ClassifierConfig)
    except msgspec.DecodeError as fault:
        raise IntegrityError(f"{path}: its description cannot be read ({fault})") from None
    if config.schema > SCHEMA:
        raise UsageError(f"{path}: written by a newer spnas (schema {config.schema}); this one reads up to {SCHEMA}")
    return config
