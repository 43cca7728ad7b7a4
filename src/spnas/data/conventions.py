"""The ways to write a box in four numbers, and what a set of boxes looks like when it is read wrongly."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

TOLERANCE_PX = 2.0  # annotators' boxes reach this far outside without anything being wrong
FEWEST_MISFITS = 5  # less than this is a few bad boxes, not a wrong convention
ZERO_PX = 1e-3  # a side below this is no side


def corners(numbers: Numbers, convention: str) -> Numbers:
    """Return x1, y1, x2, y2 (M, 4), continuous coordinates from 0.

    VOC counts pixels from 1 and includes the last: x1 - 1, y1 - 1, x2, y2. A 0, which cannot be there, stays 0.
    """
    a, b, c, d = numbers.T
    if convention == "xywh":
        found = (a, b, a + c, b + d)
    elif convention == "centre xywh":
        found = (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
    elif convention == "voc":
        found = (np.where(a >= 1, a - 1, a), np.where(b >= 1, b - 1, b), c, d)
    else:
        found = (a, b, c, d)
    return np.stack(found, axis=1)


def written_sides(numbers: Numbers, convention: str) -> Numbers:
    """Return width and height (M, 2) by the numbers alone: a VOC box from 7 to 7 has none."""
    return numbers[:, 2:] if "xywh" in convention else numbers[:, 2:] - numbers[:, :2]


def fits(numbers: Numbers, convention: str, *, frames: Numbers) -> NDArray[np.bool_]:
    """Tell which boxes (M, 4) have an area and lie inside their frames (M, 2)."""
    box = corners(numbers, convention)
    sides = box[:, 2:] - box[:, :2]
    inside = (box[:, :2] >= -TOLERANCE_PX) & (box[:, 2:] <= frames + TOLERANCE_PX)
    return np.asarray((sides > 0).all(axis=1) & inside.all(axis=1))


def suspicion(numbers: Numbers, convention: str, *, frames: Numbers) -> str | None:
    """Return why these boxes seem to be written in another convention than `convention`, if they do."""
    if not len(numbers):
        return None
    if convention != "centre xywh" and np.all(numbers <= 1.0) and np.all(numbers >= 0.0):
        return f"looks like normalised coordinates: all of {len(numbers):,} boxes lie within 0..1"
    as_read = fits(numbers, convention, frames=frames)
    misfits, share = int((~as_read).sum()), float(as_read.mean())
    if misfits < FEWEST_MISFITS:
        return None
    others = [c for c in ("xywh", "xyxy", "centre xywh") if c != convention.replace("voc", "xyxy")]
    best, other = max((float(fits(numbers, c, frames=frames).mean()), c) for c in others)
    # sloppy boxes do not all fit another convention; wrongly read ones do
    if (best >= 0.9 and share < 0.6) or (best >= 0.98 and share < 0.95):
        return f"looks like {other}: {best:.0%} of boxes would fit as {other}, {share:.0%} as {convention}"
    return None
