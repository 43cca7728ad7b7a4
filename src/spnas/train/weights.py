"""A detector on disk: a safetensors file that says what it is, and the bundle a user takes away.

A bundle is a folder of `config.json`, `model.safetensors` and `manifest.json` (SHA-256 of the other two); the file
alone is a model too, since it carries the same configuration in its header. Nothing is ever unpickled.
"""

from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from spnas.arch import parse
from spnas.data.batches import Resize
from spnas.errors import IntegrityError, UsageError
from spnas.nets import detectors as shelf
from spnas.nets.backbone import Backbone
from spnas.nets.settings import DetectorSettings
from spnas.rng import torch_seed
from spnas.runs.files import sha256, write_atomic
from spnas.shelf import take

SCHEMA = 1


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


class Manifest(msgspec.Struct, frozen=True):
    """SHA-256 of the files of a bundle."""

    sha256: dict[str, str]


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
    write_atomic(path, save(tensors, {"spnas": msgspec.json.encode(config).decode()}))
    return sha256(path)


def write_bundle(folder: Path, detector: nn.Module, config: ModelConfig) -> None:
    """Write the files of a bundle into `folder`, which exists."""
    save_model(folder / "model.safetensors", detector, config)
    write_atomic(folder / "config.json", msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
    sums = {name: sha256(folder / name) for name in ("config.json", "model.safetensors")}
    write_atomic(folder / "manifest.json", msgspec.json.encode(Manifest(sums)))


def load_model(path: Path, *, digest: str | None = None) -> tuple[nn.Module, ModelConfig]:
    """Load a bundle, or a file of its kind, in evaluation mode.

    Raises: UsageError when it is not ours; IntegrityError when a hash, a name or a shape is not what it should be.
    """
    if path.is_dir():
        return _load_bundle(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such model; give a folder with config.json, or a .safetensors file of ours")
    if digest is not None and sha256(path) != digest:
        raise IntegrityError(f"{path}: its SHA-256 is not the one recorded; the file was changed or damaged")
    try:
        with safe_open(path, framework="pt") as file:
            note = (file.metadata() or {}).get("spnas")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as fault:
        raise IntegrityError(f"{path}: not a whole safetensors file ({fault}); restore it or train again") from None
    if note is None:
        raise UsageError(f"{path}: a safetensors file, but not a detector of ours")
    config = _read_config(path, note.encode())
    detector = build(config, seed=0)
    wanted = {name: (value.shape, value.dtype) for name, value in detector.state_dict().items()}
    got = {name: (value.shape, value.dtype) for name, value in tensors.items()}
    if wrong := [name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name)]:
        raise IntegrityError(
            f"{path}: tensor {sorted(wrong)[0]!r} and {len(wrong) - 1} more do not suit the network it names"
        )
    detector.load_state_dict(tensors)
    return detector.eval(), config


def _load_bundle(folder: Path) -> tuple[nn.Module, ModelConfig]:
    try:
        sums = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest).sha256
    except (OSError, msgspec.DecodeError):
        raise UsageError(
            f"{folder}: no readable manifest.json; a model is config.json, model.safetensors and it"
        ) from None
    for name in ("config.json", "model.safetensors"):
        file = folder / name
        if not file.is_file() or sha256(file) != sums.get(name):
            raise IntegrityError(f"{file}: missing, or not what manifest.json says; restore it or train again")
    return load_model(folder / "model.safetensors")


def _read_config(path: Path, note: bytes) -> ModelConfig:
    try:
        config = msgspec.json.decode(note, type=ModelConfig)
    except msgspec.DecodeError as fault:
        raise IntegrityError(f"{path}: its description cannot be read ({fault})") from None
    if config.schema > SCHEMA:
        raise UsageError(f"{path}: written by a newer spnas (schema {config.schema}); this one reads up to {SCHEMA}")
    return config
