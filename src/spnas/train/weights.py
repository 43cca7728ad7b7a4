"""A detector on disk: a safetensors file that says what it is, and the bundle a user takes away.

A bundle is a folder of `config.json`, `model.safetensors` and `manifest.json` (SHA-256 of the other two); the file
alone is a model too, since it carries the same configuration in its header. Nothing is ever unpickled.
"""

from pathlib import Path

import msgspec
import torch
from safetensors.torch import save
from torch import nn

from spnas.arch import parse
from spnas.data.batches import Resize
from spnas.errors import UsageError
from spnas.nets import detectors as shelf
from spnas.nets.backbone import Backbone
from spnas.nets.settings import DetectorSettings
from spnas.rng import torch_seed
from spnas.runs.files import sha256, write_atomic
from spnas.shelf import take
from spnas.train.described import WEIGHTS, finish_bundle, read_described, refuse_other_tensors, weights_of

SCHEMA = 1
NOTE = "spnas"


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is needed to build the network again and to read its answers.

    tied: whether the copies of a stage share its weights.
    projections: blocks whose shortcut is a projection by descent (see `spnas.morph`).
    category_ids: the ids the user's data gives the classes, written with results.
    """

    schema: int = SCHEMA
    detector: str
    arch: str
    projections: tuple[int, ...] = ()
    tied: bool = False
    classes: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    settings: DetectorSettings
    resize: Resize
    metrics: dict[str, float] = {}


def build(config: ModelConfig, *, seed: int) -> nn.Module:
    """Build the detector with fresh weights that depend on `seed` alone.

    Raises: UsageError for an unknown detector or block kind.
    """
    kind = take(shelf, config.detector)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "init"))
        backbone = Backbone(parse(config.arch), projections=frozenset(config.projections), tied=config.tied)
        detector: nn.Module = kind.build(backbone, classes=len(config.classes), settings=config.settings)
    return detector


def save_model(path: Path, detector: nn.Module, config: ModelConfig) -> str:
    """Write one self-describing file and return its SHA-256."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in detector.state_dict().items()}
    write_atomic(path, save(tensors, {NOTE: msgspec.json.encode(config).decode()}))
    return sha256(path)


def write_bundle(folder: Path, detector: nn.Module, config: ModelConfig) -> None:
    """Write the files of a bundle into `folder`, which exists."""
    save_model(folder / WEIGHTS, detector, config)
    finish_bundle(folder, config)


def load_model(path: Path, *, digest: str | None = None) -> tuple[nn.Module, ModelConfig]:
    """Load a bundle, or a file of its kind, in evaluation mode.

    Raises: UsageError when it is not ours; IntegrityError when a hash, a name or a shape is not what it should be.
    """
    if path.is_dir():
        path, digest = weights_of(path, what="model"), None
    if not path.is_file():
        raise UsageError(f"{path}: no such model; give a folder with config.json, or a .safetensors file of ours")
    config, tensors = read_described(path, NOTE, ModelConfig, schema=SCHEMA, digest=digest, what="detector")
    detector = build(config, seed=0)
    refuse_other_tensors(path, detector.state_dict(), tensors)
    detector.load_state_dict(tensors)
    return detector.eval(), config
