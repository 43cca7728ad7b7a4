"""Judge boxes by the thousand: numpy decides, and only the bad ones cost any words."""

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.conventions import ZERO_PX, corners, suspicion, written_sides
from spnas.data.exif import turn_boxes
from spnas.data.raw import UNKNOWN, RawData
from spnas.data.scan import Scan
from spnas.data.tally import Refuse, record, record_rows
from spnas.errors import DataError, escape

ABSURD = 4.0  # times the picture's size
CLIPPED_PX = 0.01  # what sticks out less than this is rounding
MEND = "mend or drop it"


Mask = NDArray[np.bool_] | np.bool_  # what numpy's stubs make of a comparison


class Judged(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Every box of a source (M): whether it can be used, and where it lies on the displayed picture."""

    alive: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]


def judge_boxes(
    raw: RawData,
    scan: Scan,
    usable: NDArray[np.bool_],
    shown: NDArray[np.float64],
    stored: NDArray[np.float64],
    on_refusal: Refuse,
) -> Judged:
    """Quarantine what is no box on its picture, turn and clip the rest.

    Shapes: usable (N,); shown and stored (N, 2), width and height as displayed and as stored.
    Raises: DataError (through `on_refusal`) when the boxes seem to be written in another convention.
    """
    numbers, owner = raw.numbers, raw.owner
    alive = np.ones(len(owner), np.bool_)

    def reject(bad: Mask, code: str, reason: Callable[[int], str], hint: str = MEND) -> None:
        rows = np.flatnonzero(bad & alive)
        record_rows(raw.report, "quarantined", code, rows, spot=raw.box_spot, reason=reason, hint=hint)
        alive[rows] = False

    def written(row: int) -> str:
        return "[" + ", ".join(f"{v:g}" for v in numbers[row]) + "]"

    for row, rejection in raw.rejections.items():
        record(raw.report, "quarantined", rejection.code, raw.box_spot(row), rejection.reason, rejection.hint)
        alive[row] = False
    reject(owner == UNKNOWN, "box-unknown-picture", lambda _: "belongs to no picture that is listed")
    reject(~usable[owner], "box-of-bad-picture", lambda _: "its picture cannot be used", "see the picture")
    known = ", ".join(str(i) for i in raw.category_ids[:20])
    reject(
        raw.labels == UNKNOWN,
        "box-unknown-class",
        lambda r: f"is of {raw.strangers.get(r, 'no class')}; known are {known}",
    )
    reject(~np.isfinite(numbers).all(axis=1), "box-not-finite", lambda r: f"box {written(r)} is not finite")
    raw_frame = (raw.stated == stored).all(axis=1) & ~(raw.stated == shown).all(axis=1)
    frames = np.where(raw_frame[:, None], stored, shown)[owner] if len(shown) else np.ones((0, 2))
    wrong = suspicion(numbers[alive], raw.convention, frames[alive])
    if wrong is not None:
        on_refusal(DataError(escape(str(raw.source)), "", "box-convention", wrong, f"write boxes as {raw.convention}"))
    sides = written_sides(numbers, raw.convention)
    with np.errstate(invalid="ignore", over="ignore"):
        reject((sides < 0).any(axis=1), "box-negative", lambda r: f"box {written(r)} has a negative side")
        reject((sides < ZERO_PX).any(axis=1), "box-zero-area", lambda r: f"box {written(r)} has no area")
        boxes = corners(numbers, raw.convention)
        far = np.abs(boxes) > ABSURD * np.tile(frames, 2)
        reject(far.any(axis=1), "box-absurd", lambda r: f"box {written(r)} lies far outside any picture")
    boxes = _turned(raw, scan, boxes, raw_frame, shown)
    limits = np.tile(shown[owner], 2) if len(shown) else np.ones((0, 4))
    clipped = np.clip(boxes, 0, limits)
    outside = (clipped[:, 2:] - clipped[:, :2] < ZERO_PX).any(axis=1)
    reject(outside, "box-outside", lambda r: f"box {written(r)} lies outside the picture")
    cut = alive & (np.abs(boxes - clipped) > CLIPPED_PX).any(axis=1)
    record_rows(
        raw.report,
        "noted",
        "box-clipped",
        np.flatnonzero(cut),
        spot=raw.box_spot,
        reason=lambda r: f"box {written(r)} sticks out of the picture and is clipped",
        hint="nothing needs to be done",
    )
    return Judged(alive=alive, boxes=clipped, areas=_areas(raw, alive, boxes, clipped))


def _turned(
    raw: RawData,
    scan: Scan,
    boxes: NDArray[np.float64],
    raw_frame: NDArray[np.bool_],
    shown: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Turn boxes that were drawn on the stored picture to how it is displayed."""
    for index in np.flatnonzero(raw_frame):
        header = scan.headers[index]
        if header is not None:
            rows = raw.owner == index
            boxes[rows] = turn_boxes(boxes[rows], header.orientation, *shown[index])
    return boxes


def _areas(
    raw: RawData,
    alive: NDArray[np.bool_],
    boxes: NDArray[np.float64],
    clipped: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the stated areas where they can be true, else those of the clipped boxes."""
    own: NDArray[np.float64] = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1)
    if raw.areas is None:
        return own
    with np.errstate(invalid="ignore", over="ignore"):
        whole = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        believable = (raw.areas > 0) & (raw.areas <= 1.01 * whole + 1)
    record_rows(
        raw.report,
        "noted",
        "area-computed",
        np.flatnonzero(alive & ~believable),
        spot=raw.box_spot,
        reason=lambda r: f"area {raw.areas[r]:g} is missing or wrong; the box has {own[r]:g}",  # type: ignore[index]
        hint="nothing needs to be done",
    )
    return np.where(believable, np.minimum(raw.areas, own), own)
