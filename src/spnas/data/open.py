"""Open a user's data set whatever its format, or the generated one, ready to be learned from."""

import hashlib
import os
from pathlib import Path
from typing import Literal, cast

import msgspec

from spnas.data import formats as shelf
from spnas.data.checks import MAX_BAD, Checked, check
from spnas.data.choice import DataChoice
from spnas.data.compare import carve_val, note_shared_videos, refuse_overlap, same_classes
from spnas.data.fingerprint import fingerprint
from spnas.data.formats import Format
from spnas.data.generate import GeneratorSettings, generate
from spnas.data.pictures import SAFE_FORMATS
from spnas.data.records import Annotations, DataSet
from spnas.data.tally import Refuse, refuse
from spnas.errors import DataError, escape
from spnas.shelf import members, take


def open_data(
    path: Path | None,
    *,
    format: str | None = None,
    train: str | None = None,
    val: str | None = None,
    max_bad: float = MAX_BAD,
    allow_outside: Path | None = None,
    allow_overlap: bool = False,
    picture_formats: tuple[str, ...] = SAFE_FORMATS,
    generated: GeneratorSettings = GeneratorSettings(),  # noqa: B008  # frozen
    cache: Path | None = None,
) -> DataSet:
    """Read, check and divide a data set.

    Args:
      path: a folder or an annotation file; None for generated data, which is kept in `cache`.
      format: a name on the formats shelf; told by the look of `path` when not given.
      train, val: names of splits (or files below `path`) to use instead of the usual ones.
      max_bad: the share of a file's records that may be left out.
      allow_outside: a folder outside `path` in which pictures may lie, too.
    Raises: DataError when the data cannot be used as it is; UsageError for an unknown format.
    """
    if path is None:
        path = generated_folder(generated, cache)
        generate(path, generated)
        format = "coco"
    name, parts = read_splits(
        path,
        format=format,
        train=train,
        val=val,
        max_bad=max_bad,
        allow_outside=allow_outside,
        allow_overlap=allow_overlap,
        picture_formats=picture_formats,
    )
    learned, judged = parts["train"], parts["val"]
    reports = (learned.report,) if learned.report is judged.report else (learned.report, judged.report)
    return DataSet(
        format=name,
        train=learned.annotations,
        val=judged.annotations,
        reports=reports,
        fingerprint=fingerprint(learned, judged),
    )


def open_choice(choice: DataChoice) -> DataSet:
    """Open what was chosen. Raises: DataError when it cannot be used."""
    return open_data(
        Path(choice.path) if choice.path else None,
        format=choice.format,
        train=choice.train,
        val=choice.val,
        max_bad=choice.max_bad,
        allow_outside=Path(choice.allow_outside) if choice.allow_outside else None,
        allow_overlap=choice.allow_overlap,
    )


def open_split(
    path: Path,
    *,
    split: str,
    format: str | None = None,
    max_bad: float = MAX_BAD,
    with_pictures: bool = True,
    allow_outside: Path | None = None,
) -> Annotations:
    """Read and check one split on its own, for judging results.

    Args:
      with_pictures: False where the pictures are missing: the annotations have to state sizes (or, as for
        BDD100K, all pictures of the benchmark have the same), and nothing can be trained on what is returned.
    Raises: DataError when it cannot be used as it is; UsageError for an unknown format.
    """
    reader = cast(Format, take(shelf, format or detect_format(path)))
    try:
        raw = reader.read(path, split=split)
    except OSError as error:
        raise _unreadable(path, error) from None
    return check(raw, max_bad=max_bad, allow_outside=allow_outside, with_pictures=with_pictures).annotations


def read_splits(
    path: Path,
    *,
    format: str | None,
    train: str | None,
    val: str | None,
    max_bad: float,
    allow_outside: Path | None,
    allow_overlap: bool,
    picture_formats: tuple[str, ...],
    on_refusal: Refuse = refuse,
) -> tuple[str, dict[str, Checked]]:
    """Return the format and, under "train" and "val", whatever `on_refusal` let pass.

    Raises: DataError (through `on_refusal` once the format is known); UsageError for an unknown format.
    """
    name = format or detect_format(path)
    reader = cast(Format, take(shelf, name))
    parts: dict[str, Checked] = {}
    splits: dict[str, str | None] = {}
    roles: tuple[tuple[Literal["train", "val"], str | None], ...] = (("train", train), ("val", val))
    for role, named in roles:
        try:
            split = splits[role] = named or reader.usual_split(path, role)
            if split is not None:
                raw = reader.read(path, split=split)
                parts[role] = check(
                    raw,
                    max_bad=max_bad,
                    formats=picture_formats,
                    allow_outside=allow_outside,
                    on_refusal=on_refusal,
                )
            elif role == "train":
                expected = f"expected {reader.LAYOUT}"
                on_refusal(DataError(escape(str(path)), "", "splits-unknown", "has nothing to train on", expected))
        except DataError as error:
            on_refusal(error)
        except OSError as error:
            on_refusal(_unreadable(path, error))
    try:
        if "train" in parts and splits.get("val", "") is None:
            parts["train"], parts["val"] = carve_val(parts["train"])
        elif len(parts) == 2:
            parts["val"] = same_classes(parts["train"], parts["val"])
    except DataError as error:
        on_refusal(error)
    if len(parts) == 2:
        if not allow_overlap:
            refuse_overlap(parts["train"], parts["val"], on_refusal=on_refusal)
        note_shared_videos(parts["train"], parts["val"])
    return name, parts


def generated_folder(settings: GeneratorSettings, cache: Path | None = None) -> Path:
    """Return where the data of these settings are kept: below `cache`, else below the user's cache folder."""
    key = hashlib.sha256(msgspec.json.encode(settings)).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (cache or home / "spnas" / "generated") / key


def detect_format(path: Path) -> str:
    """Return the name of the format that `path` looks like.

    Raises: DataError when it looks like none, or like several.
    """
    shown = escape(str(path))
    if not os.path.lexists(path):
        raise DataError(shown, "", "data-missing", "there is no such file or folder", "check the path")
    readers = {name: cast(Format, take(shelf, name)) for name in members(shelf)}
    try:
        found = [name for name, reader in readers.items() if reader.recognise(path)]
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(shown, "", "layout-ambiguous", f"could be {' or '.join(found)}", "choose one with --format")
    layouts = "; ".join(reader.LAYOUT for reader in readers.values())
    documents = sorted(path.glob("*.json")) if path.is_dir() else []
    itself = f"give the file itself ({escape(documents[0].name)}), if it holds annotations; or " if documents else ""
    hint = f"{itself}expected one of: {layouts}"
    raise DataError(shown, "", "layout-unknown", "is no layout that is understood", hint)


def _unreadable(path: Path, error: OSError) -> DataError:
    """Say which file or folder the system does not let us look at."""
    reason = f"cannot be read: {error.strerror or error}"
    return DataError(escape(str(error.filename or path)), "", "file-unreadable", reason, "check its permissions")
