"""Judge boxes by the thousand: numpy decides, and only the bad ones cost any words."""

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.conventions import ZERO_PX, corners, suspicion, written_sides
from spnas.data.exif import turn_each
from spnas.data.raw import UNKNOWN, RawData
from spnas.data.scan import Scan
from spnas.data.tally import Refuse, record, record_rows
from spnas.errors import DataError, escape

ABSURD = 4.0  # times the picture's size
CLIPPED_PX = 0.01  # what sticks out less than this is rounding


Mask = NDArray[np.bool_] | np.bool_  # what numpy's stubs make of a comparison


class Judged(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Every box of a source (M): whether it can be used, and where it lies on the displayed picture.

    turns: (N,), the EXIF orientation by which the boxes of each picture were turned; 1 where they were not.
    """

    alive: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    turns: NDArray[np.uint8]


@np.errstate(invalid="ignore", over="ignore")  # rows that are already out may hold anything
def judge_boxes(raw: RawData, scan: Scan, *, usable: NDArray[np.bool_], on_refusal: Refuse) -> Judged:
    """Quarantine what is no box on its picture, turn and clip the rest.

    Shapes: usable (N,), the pictures that boxes may belong to.
    Raises: DataError (through `on_refusal`) when the boxes seem to be written in another convention.
    """
    numbers, owner = raw.numbers, raw.owner
    alive = _belonging(raw, usable)
    as_stored = (raw.stated == scan.stored).all(axis=1) & ~(raw.stated == scan.shown).all(axis=1)
    frames = np.where(as_stored[:, None], scan.stored, scan.shown)[owner]
    convention: str = raw.convention
    if convention == "yolo":
        numbers, convention = numbers * np.tile(frames, 2), "centre xywh"
    wrong = suspicion(numbers[alive], convention, frames=frames[alive])
    if wrong is not None:
        hint = f"write boxes as {convention}"
        on_refusal(DataError(escape(str(raw.source)), "", "box-convention", wrong, hint))
    sides = written_sides(numbers, convention)
    boxes = corners(numbers, convention)
    far = np.abs(boxes) > ABSURD * np.tile(frames, 2)
    _reject(raw, alive, bad=(sides < 0).any(axis=1), code="box-negative", reason="has a negative side")
    _reject(raw, alive, bad=(sides < ZERO_PX).any(axis=1), code="box-zero-area", reason="has no area")
    _reject(raw, alive, bad=far.any(axis=1), code="box-absurd", reason="lies far outside any picture")
    pairs = zip(scan.headers, as_stored, strict=True)
    turns = np.array([h.orientation if h is not None and own else 1 for h, own in pairs], np.uint8)
    boxes = turn_each(boxes, turns[owner], sizes=scan.shown[owner])
    clipped = np.clip(boxes, 0, np.tile(scan.shown[owner], 2))
    outside = (clipped[:, 2:] - clipped[:, :2] < ZERO_PX).any(axis=1)
    _reject(raw, alive, bad=outside, code="box-outside", reason="lies outside the picture")
    record_rows(
        raw.report,
        np.flatnonzero(alive & (np.abs(boxes - clipped) > CLIPPED_PX).any(axis=1)),
        outcome="noted",
        code="box-clipped",
        spot=raw.box_spot,
        reason=lambda r: f"box {_written(raw, r)} sticks out of the picture and is clipped",
        hint="nothing needs to be done",
    )
    areas = _areas(raw, alive, boxes=boxes, clipped=clipped)
    return Judged(alive=alive, boxes=clipped, areas=areas, turns=turns)


def _belonging(raw: RawData, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which boxes (M,) have four finite numbers, a class, and a picture that can be used."""
    alive = np.ones(len(raw.owner), np.bool_)
    for row, (code, reason, hint) in raw.rejections.items():
        record(raw.report, raw.box_spot(row), outcome="quarantined", code=code, reason=reason, hint=hint)
        alive[row] = False
    known = ", ".join(str(i) for i in raw.category_ids[:20])
    checks: tuple[tuple[Mask, str, Callable[[int], str]], ...] = (
        (raw.owner == UNKNOWN, "box-unknown-picture", lambda _: "belongs to no picture that is listed"),
        (~usable[raw.owner], "box-of-bad-picture", lambda _: "its picture cannot be used"),
        (raw.labels == UNKNOWN, "box-unknown-class", lambda r: f"is of {raw.strangers[r]}; known are {known}"),
        (
            ~np.isfinite(raw.numbers).all(axis=1),
            "box-not-finite",
            lambda r: f"box {_written(raw, r)} is not finite",
        ),
    )
    for bad, code, reason_of in checks:
        _reject(raw, alive, bad=bad, code=code, reason=reason_of)
    return alive


def _reject(
    raw: RawData, alive: NDArray[np.bool_], *, bad: Mask, code: str, reason: str | Callable[[int], str]
) -> None:
    """Quarantine the boxes that are `bad` and still `alive`; a plain `reason` is said about the numbers."""
    rows = np.flatnonzero(bad & alive)
    words = reason if callable(reason) else lambda r: f"box {_written(raw, r)} {reason}"
    record_rows(
        raw.report,
        rows,
        outcome="quarantined",
        code=code,
        spot=raw.box_spot,
        reason=words,
        hint="mend or drop it",
    )
    alive[rows] = False


def _written(raw: RawData, row: int) -> str:
    return "[" + ", ".join(f"{v:g}" for v in raw.numbers[row]) + "]"


def _areas(
    raw: RawData, alive: NDArray[np.bool_], *, boxes: NDArray[np.float64], clipped: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the stated areas where they can be true, else those of the clipped boxes."""
    own: NDArray[np.float64] = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1)
    if raw.areas is None:
        return own
    whole = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    believable = (raw.areas > 0) & (raw.areas <= 1.01 * whole + 1)
    record_rows(
        raw.report,
        np.flatnonzero(alive & ~believable),
        outcome="noted",
        code="area-computed",
        spot=raw.box_spot,
        reason=lambda r: f"area {raw.areas[r]:g} is missing or wrong; the box has {own[r]:g}",  # type: ignore[index]
        hint="nothing needs to be done",
    )
    return np.where(believable, np.minimum(raw.areas, own), own)
