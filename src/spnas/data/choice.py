"""Which data are meant, and how they are to be read: what a user said, as a record that can be kept."""

from pathlib import Path

import msgspec


class DataChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Where the data are and how they are read; `path` None is the generated set. See `open.open_data` for the rest."""

    path: str | None = None
    format: str | None = None
    train: str | None = None
    val: str | None = None
    max_bad: float = 0.01
    allow_outside: str | None = None
    allow_overlap: bool = False


def choice_of(data: "str | Path | DataChoice | None") -> DataChoice:
    """Return `data` as a record whose paths are absolute, so that a study finds them from anywhere."""
    choice = data if isinstance(data, DataChoice) else DataChoice(path=None if data is None else str(data))
    return msgspec.structs.replace(choice, path=_absolute(choice.path), allow_outside=_absolute(choice.allow_outside))


def _absolute(path: str | None) -> str | None:
    return str(Path(path).absolute()) if path is not None else None
