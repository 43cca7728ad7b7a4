"""A safetensors file that says what it is, and the bundle around it, as detectors and classifiers have them alike.

A bundle is a folder of `config.json`, `model.safetensors` and `manifest.json` (SHA-256 of the other two).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from safetensors import SafetensorError, safe_open
from torch import Tensor

from spnas.errors import IntegrityError, UsageError
from spnas.runs.files import sha256, write_atomic

WEIGHTS, CONFIG, MANIFEST = "model.safetensors", "config.json", "manifest.json"
BUNDLE = frozenset({WEIGHTS, CONFIG, MANIFEST})


class Described(Protocol):
    """What a file says of itself, with the schema it was written by."""

    @property
    def schema(self) -> int:
        """Number of the schema."""


C = TypeVar("C", bound=Described)


class Manifest(msgspec.Struct, frozen=True):
    """SHA-256 of the files of a bundle."""

    sha256: dict[str, str]


def finish_bundle(folder: Path, config: Described) -> None:
    """Write `config.json` and the manifest beside the weights that are in `folder`."""
    write_atomic(folder / CONFIG, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
    sums = {name: sha256(folder / name) for name in (CONFIG, WEIGHTS)}
    write_atomic(folder / MANIFEST, msgspec.json.encode(Manifest(sums)))


def weights_of(folder: Path, *, what: str) -> Path:
    """Return the weights of a bundle, whose files were checked.

    Raises: UsageError when it is no bundle; IntegrityError when a file is not what the manifest says.
    """
    try:
        sums = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest).sha256
    except (OSError, msgspec.DecodeError):
        raise UsageError(
            f"{folder}: no readable manifest.json; a {what} is config.json, model.safetensors and it"
        ) from None
    for name in (CONFIG, WEIGHTS):
        file = folder / name
        if not file.is_file() or sha256(file) != sums.get(name):
            raise IntegrityError(f"{file}: missing, or not what manifest.json says; restore it or train again")
    return folder / WEIGHTS


def read_described(
    path: Path, note: str, kind: type[C], *, schema: int, digest: str | None, what: str
) -> tuple[C, dict[str, Tensor]]:
    """Return what a file says of itself under `note`, and its tensors.

    Raises: UsageError when it is not ours, or a newer spnas wrote it; IntegrityError when it is damaged.
    """
    if digest is not None and sha256(path) != digest:
        raise IntegrityError(f"{path}: its SHA-256 is not the one recorded; the file was changed or damaged")
    try:
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get(note)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as fault:
        raise IntegrityError(f"{path}: not a whole safetensors file ({fault}); restore it or train again") from None
    if written is None:
        raise UsageError(f"{path}: a safetensors file, but not a {what} of ours")
    try:
        config = msgspec.json.decode(written.encode(), type=kind)
    except msgspec.DecodeError as fault:
        raise IntegrityError(f"{path}: its description cannot be read ({fault})") from None
    if config.schema > schema:
        raise UsageError(f"{path}: written by a newer spnas (schema {config.schema}); this one reads up to {schema}")
    return config, tensors


def refuse_other_tensors(path: Path, wanted: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> None:
    """Raise IntegrityError when names, shapes or types of tensors are not those of the network."""
    ours, theirs = ({name: (t.shape, t.dtype) for name, t in tensors.items()} for tensors in (wanted, got))
    if wrong := sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)):
        raise IntegrityError(f"{path}: tensor {wrong[0]!r} and {len(wrong) - 1} more do not suit the network it names")
