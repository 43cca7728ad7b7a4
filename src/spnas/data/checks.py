"""What no format may hand over unchecked: classes, pictures and boxes, refused, quarantined or noted."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.boxes import Judged, judge_boxes
from spnas.data.pictures import SAFE_FORMATS
from spnas.data.raw import UNKNOWN, RawData, Spot
from spnas.data.records import NOT_A_TARGET, Annotations, ClassCount, DataReport
from spnas.data.scan import Scan, scan_pictures
from spnas.data.tally import Refuse, record, record_rows, refuse
from spnas.errors import DataError, escape

MAX_BAD = 0.01


class Checked(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A source that can be used: `digests` are the hashes of its pictures' bytes."""

    annotations: Annotations
    report: DataReport
    digests: tuple[bytes, ...]


def check(
    raw: RawData,
    *,
    max_bad: float = MAX_BAD,
    formats: tuple[str, ...] = SAFE_FORMATS,
    allow_outside: Path | None = None,
    on_refusal: Refuse = refuse,
) -> Checked:
    """Turn a reader's columns into annotations that nothing behind needs to doubt.

    Raises: DataError (through `on_refusal`) for what cannot be used, or when more than `max_bad` of the
      records would be left out.
    """
    raw = msgspec.structs.replace(raw, classes=_check_classes(raw))
    _check_pictures_listed(raw)
    scan = scan_pictures(raw, formats=formats, allow_outside=allow_outside, refuse=on_refusal)
    shown, stored = _sizes(raw, scan)
    usable = scan.usable & _check_sizes(raw, scan, shown, stored, on_refusal)
    judged = judge_boxes(raw, scan, usable, shown, stored, on_refusal)
    checked = _assemble(raw, scan, usable, shown, judged)
    _count(raw, checked, usable, judged)
    _check_amounts(raw, usable, judged, max_bad, on_refusal)
    return checked


def _check_classes(raw: RawData) -> tuple[str, ...]:
    """Return the class names without blanks around them; refuse empty and repeated ones."""
    names = tuple(name.strip() for name in raw.classes)
    source = escape(str(raw.source))
    if not names:
        raise DataError(source, "", "no-classes", "has no class at all", "annotate objects, or add categories")
    seen: dict[str, int] = {}
    caseless: dict[str, str] = {}
    for index, (name, written) in enumerate(zip(names, raw.classes, strict=True)):
        if not name:
            raise DataError(source, f"class {index}", "class-empty", "has no name", "name it")
        if name in seen:
            reason = f"is called {escape(name)!r} like class {seen[name]}"
            raise DataError(source, f"class {index}", "class-repeated", reason, "give every class its own name")
        seen[name] = index
        other = caseless.setdefault(name.casefold(), name)
        spot = Spot(str(raw.source), f"class {index}")
        if other != name:
            reason = f"{name!r} differs from {other!r} by case only"
            record(raw.report, "noted", "class-case", spot, reason, "merge them if they are one")
        if name != written:
            reason = f"{written!r} has blanks around it"
            record(raw.report, "noted", "class-blanks", spot, reason, "nothing needs to be done")
    return names


def _check_pictures_listed(raw: RawData) -> None:
    """Refuse a source without pictures, or one that lists the same picture twice."""
    if not raw.files:
        source = escape(str(raw.source))
        raise DataError(source, "", "no-pictures", "lists no pictures", "check that it is the right file")
    if len(set(raw.files)) == len(raw.files):
        return
    first: dict[str, int] = {}
    for index, name in enumerate(raw.files):
        if name in first:
            spot, other = raw.picture_spot(index), raw.picture_spot(first[name])
            raise DataError(
                escape(spot.file),
                escape(spot.where),
                "picture-listed-twice",
                f"is the same file as {escape(other.where)}",
                "give every picture one record",
            )
        first[name] = index


def _sizes(raw: RawData, scan: Scan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return width and height (N, 2) of every usable picture, as displayed and as stored; else ones."""
    shown, stored = np.ones((len(raw.files), 2)), np.ones((len(raw.files), 2))
    for index, header in enumerate(scan.headers):
        if header is not None:
            shown[index], stored[index] = (header.width, header.height), header.stored
    return shown, stored


def _check_sizes(
    raw: RawData,
    scan: Scan,
    shown: NDArray[np.float64],
    stored: NDArray[np.float64],
    on_refusal: Refuse,
) -> NDArray[np.bool_]:
    """Compare stated sizes with the files: displayed or stored must match, where anything is stated."""
    silent = np.isnan(raw.stated).any(axis=1)
    record_rows(
        raw.report,
        "noted",
        "picture-size-unstated",
        np.flatnonzero(silent & scan.usable),
        spot=raw.picture_spot,
        reason=lambda i: f"no width and height; the file says {shown[i, 0]:.0f} x {shown[i, 1]:.0f}",
        hint="nothing needs to be done",
    )
    matches = (raw.stated == shown).all(axis=1) | (raw.stated == stored).all(axis=1)
    wrong = np.flatnonzero(~silent & ~matches & scan.usable)
    if len(wrong):
        i = int(wrong[0])
        spot = raw.picture_spot(i)
        stated, file = raw.stated[i], shown[i]
        swapped = "; width and height are swapped" if (stated[::-1] == file).all() else ""
        on_refusal(
            DataError(
                escape(spot.file),
                escape(spot.where),
                "picture-size-differs",
                f"says {stated[0]:.0f} x {stated[1]:.0f}, the file is {file[0]:.0f} x {file[1]:.0f}{swapped} "
                f"({len(wrong):,} pictures differ)",
                "mend the record, or restore the picture it was made for",
            )
        )
    return np.asarray(silent | matches)


def _assemble(
    raw: RawData, scan: Scan, usable: NDArray[np.bool_], shown: NDArray[np.float64], judged: Judged
) -> Checked:
    """Keep the usable pictures and boxes, boxes in the order of their pictures."""
    kept = np.flatnonzero(usable)
    rows = np.flatnonzero(judged.alive)
    rows = rows[np.argsort(raw.owner[rows], kind="stable")]
    per_picture = np.bincount(raw.owner[rows], minlength=len(raw.files))[kept]
    first = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(per_picture, out=first[1:])
    annotations = Annotations(
        name=raw.split,
        root=scan.root,
        classes=raw.classes,
        files=tuple(scan.files[i] for i in kept),
        image_ids=tuple(raw.image_ids[i] for i in kept),
        box_ids=tuple(raw.box_ids[i] for i in rows),
        category_ids=raw.category_ids,
        sizes=shown[kept].astype(np.int32),
        first=first,
        boxes=judged.boxes[rows],
        labels=raw.labels[rows],
        flags=raw.flags[rows],
        areas=judged.areas[rows],
    )
    return Checked(annotations=annotations, report=raw.report, digests=tuple(scan.digests[i] for i in kept))


def _count(raw: RawData, checked: Checked, usable: NDArray[np.bool_], judged: Judged) -> None:
    """Write into the report what became of every picture and every box."""
    report, known = raw.report, checked.annotations
    report.images = len(raw.files)
    report.quarantined_images = int((~usable).sum())
    report.empty_images = int((np.diff(known.first) == 0).sum())
    ignored = judged.alive & ((raw.flags & NOT_A_TARGET) != 0)
    used = judged.alive & ~ignored

    def per_class(rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(raw.labels[rows & (raw.labels != UNKNOWN)], minlength=len(raw.classes))

    columns = zip(per_class(np.ones_like(used)), per_class(used), per_class(ignored), strict=True)
    for name, (read, good, neither) in zip(raw.classes, columns, strict=True):
        report.per_class[name] = ClassCount(
            read=int(read), used=int(good), ignored=int(neither), quarantined=int(read - good - neither)
        )
    for name in raw.strangers.values():
        count = report.per_class.setdefault(name, ClassCount())
        count.read += 1
        count.quarantined += 1


def _check_amounts(
    raw: RawData,
    usable: NDArray[np.bool_],
    judged: Judged,
    max_bad: float,
    on_refusal: Refuse,
) -> None:
    """Refuse a source of which too much is left out, or in which nothing is left to learn."""
    source = escape(str(raw.source))
    bad = int((~usable).sum()) + int((~judged.alive).sum())
    total = len(usable) + len(judged.alive)
    if bad > max_bad * total:
        outcomes = [f for f in raw.report.findings if f.outcome == "quarantined"]
        reason = f"{bad:,} of {total:,} records ({bad / total:.1%}) cannot be used"
        example = f", first: {outcomes[0].where}: {outcomes[0].reason} [{outcomes[0].code}]" if outcomes else ""
        on_refusal(
            DataError(
                source,
                "",
                "too-many-bad",
                f"{reason}, at most {max_bad:.1%} may{example}",
                'see all with "spnas doctor", mend them, or raise --max-bad',
            )
        )
    targets = judged.alive & ((raw.flags & NOT_A_TARGET) == 0)
    if raw.files and not targets.any():
        on_refusal(
            DataError(
                source,
                "",
                "no-boxes",
                f"none of {len(raw.files):,} pictures has a usable box",
                "annotate some, or check that it is the right file",
            )
        )
