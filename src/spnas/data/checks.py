"""What no format may hand over unchecked: classes, pictures and boxes, refused, quarantined or noted."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.boxes import Judged, judge_boxes
from spnas.data.names import check_classes, check_listed_once
from spnas.data.pictures import SAFE_FORMATS
from spnas.data.raw import UNKNOWN, RawData
from spnas.data.records import NOT_A_TARGET, Annotations, ClassCount, DataReport
from spnas.data.scan import Scan, believe_sizes, scan_pictures
from spnas.data.tally import Refuse, record_rows, refuse
from spnas.errors import DataError, escape

MAX_BAD = 0.01


class Checked(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A source that can be used: `digests` are the hashes of its pictures' bytes, `videos` their recordings or ""."""

    annotations: Annotations
    report: DataReport
    digests: tuple[bytes, ...]
    videos: tuple[str, ...]


def check(
    raw: RawData,
    *,
    max_bad: float = MAX_BAD,
    formats: tuple[str, ...] = SAFE_FORMATS,
    allow_outside: Path | None = None,
    with_pictures: bool = True,
    on_refusal: Refuse = refuse,
) -> Checked:
    """Turn a reader's columns into annotations that nothing behind needs to doubt.

    Args: with_pictures: look at every picture; else believe what is stated of them, which does for judging.
    Raises: DataError (through `on_refusal`) for what cannot be used, or when more than `max_bad` of the
      records would be left out.
    """
    raw = msgspec.structs.replace(raw, classes=check_classes(raw))
    check_listed_once(raw)
    _check_class_list(raw, on_refusal=on_refusal)
    if with_pictures:
        scan = scan_pictures(raw, formats=formats, allow_outside=allow_outside, refuse=on_refusal)
    else:
        scan = believe_sizes(raw, refuse=on_refusal)
    usable = scan.usable & _check_sizes(raw, scan, on_refusal=on_refusal)
    judged = judge_boxes(raw, scan, usable=usable, on_refusal=on_refusal)
    known = _assemble(raw, scan, usable=usable, judged=judged)
    _count(raw, known, usable=usable, alive=judged.alive)
    _check_amounts(raw, judged.alive, usable=usable, max_bad=max_bad, on_refusal=on_refusal)
    kept = np.flatnonzero(usable).tolist()
    return Checked(
        annotations=known,
        report=raw.report,
        digests=tuple(scan.digests[i] for i in kept),
        videos=tuple(raw.videos[i] if raw.videos else "" for i in kept),
    )


def _check_class_list(raw: RawData, *, on_refusal: Refuse) -> None:
    """Refuse boxes of which not one is of a class that is known."""
    if len(raw.labels) and raw.strangers and (raw.labels == UNKNOWN).all():
        called = ", ".join(escape(name) for name in sorted(set(raw.strangers.values()))[:8])
        known = ", ".join(escape(name) for name in raw.classes[:20])
        reason = f"0 of {len(raw.labels):,} boxes match the class list; the boxes are of {called}, known are {known}"
        hint = "use the names of the class list"
        on_refusal(DataError(escape(str(raw.source)), "", "classes-unknown", reason, hint))


def _check_sizes(raw: RawData, scan: Scan, *, on_refusal: Refuse) -> NDArray[np.bool_]:
    """Compare stated sizes with the files: displayed or stored must match, where anything is stated."""
    shown = scan.shown
    silent = np.isnan(raw.stated).any(axis=1)
    record_rows(
        raw.report,
        np.flatnonzero(silent & scan.usable & raw.states_sizes),
        outcome="noted",
        code="picture-size-unstated",
        spot=raw.picture_spot,
        reason=lambda i: f"no width and height; the file says {shown[i, 0]:.0f} x {shown[i, 1]:.0f}",
        hint="nothing needs to be done",
    )
    matches = (raw.stated == shown).all(axis=1) | (raw.stated == scan.stored).all(axis=1)
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
                f"says {stated[0]:g} x {stated[1]:g}, the file is {file[0]:g} x {file[1]:g}{swapped} "
                f"({len(wrong):,} pictures differ)",
                "mend the record, or restore the picture it was made for",
            )
        )
    return np.asarray(silent | matches)


def _assemble(raw: RawData, scan: Scan, *, usable: NDArray[np.bool_], judged: Judged) -> Annotations:
    """Keep the usable pictures and boxes, boxes in the order of their pictures."""
    kept = np.flatnonzero(usable)
    rows = np.flatnonzero(judged.alive)
    rows = rows[np.argsort(raw.owner[rows], kind="stable")]
    per_picture = np.bincount(raw.owner[rows], minlength=len(raw.files))[kept]
    first = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(per_picture, out=first[1:])
    return Annotations(
        name=raw.split,
        root=scan.root,
        classes=raw.classes,
        files=tuple(scan.files[i] for i in kept),
        image_ids=tuple(raw.image_ids[i] for i in kept),
        box_ids=tuple(raw.box_ids[i] for i in rows),
        category_ids=raw.category_ids,
        sizes=scan.shown[kept].astype(np.int32),
        first=first,
        boxes=judged.boxes[rows],
        labels=raw.labels[rows],
        flags=raw.flags[rows],
        areas=judged.areas[rows],
        details=None if raw.details is None else raw.details.take(rows),
        turns=judged.turns[kept],
    )


def _count(raw: RawData, known: Annotations, *, usable: NDArray[np.bool_], alive: NDArray[np.bool_]) -> None:
    """Write into the report what became of every picture and every box."""
    report = raw.report
    report.images = len(raw.files)
    report.quarantined_images = int((~usable).sum())
    report.empty_images = int((np.diff(known.first) == 0).sum())
    ignored = alive & ((raw.flags & NOT_A_TARGET) != 0)
    used = alive & ~ignored

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
    alive: NDArray[np.bool_],
    *,
    usable: NDArray[np.bool_],
    max_bad: float,
    on_refusal: Refuse,
) -> None:
    """Refuse a source of which too much is left out, or in which nothing is left to learn."""
    source = escape(str(raw.source))
    bad = int((~usable).sum()) + int((~alive).sum())
    total = len(usable) + len(alive)
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
    targets = alive & ((raw.flags & NOT_A_TARGET) == 0)
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
