"""A trained classifier on disk: a safetensors file that says what it is, and the bundle a user takes away."""

from pathlib import Path

import msgspec
import torch
from safetensors.torch import save

from spnas.arch import parse
from spnas.errors import UsageError
from spnas.nets.backbone import Backbone
from spnas.nets.classifier import PictureClassifier
from spnas.runs.files import sha256, write_atomic
from spnas.train.described import WEIGHTS, finish_bundle, read_described, refuse_other_tensors, weights_of

SCHEMA = 1
NOTE = "spnas-classifier"
BACKBONE_NOTE = "spnas-backbone"  # what `spnas.create_model(pretrained_path=...)` and exports look for


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
    finish_bundle(folder, config)


def load_classifier(path: Path, *, digest: str | None = None) -> tuple[PictureClassifier, ClassifierConfig]:
    """Load a bundle, or a file of its kind, in evaluation mode.

    Raises: UsageError when it is not ours; IntegrityError when a hash, a name or a shape is not what it should be.
    """
    if path.is_dir():
        path, digest = weights_of(path, what="classifier"), None
    if not path.is_file():
        raise UsageError(f"{path}: no such classifier; give a folder or file that 'spnas classify train' wrote")
    config, tensors = read_described(path, NOTE, ClassifierConfig, schema=SCHEMA, digest=digest, what="classifier")
    with torch.device("meta"):  # a file cannot make us allocate more than it holds itself
        backbone = Backbone(parse(config.arch), projections=frozenset(config.projections), tied=config.tied)
        classifier = PictureClassifier(backbone, classes=len(config.classes))
    refuse_other_tensors(path, classifier.state_dict(), tensors)
    classifier.load_state_dict(tensors, assign=True)
    return classifier.eval(), config
