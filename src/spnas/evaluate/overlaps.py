"""Which detections overlap which objects, over a whole data set at once."""

import itertools

import msgspec
import numpy as np
from numpy.typing import NDArray

AT_ONCE = 1 << 20  # pairs looked at together


class Overlaps(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Pairs of boxes that overlap enough, P in all.

    Shapes: found (P,) rows of detections, rising; truth (P,) rows of objects; overlap (P,) in 0..1.
    """

    found: NDArray[np.int64]
    truth: NDArray[np.int64]
    overlap: NDArray[np.float64]

    def where(self, mask: NDArray[np.bool_]) -> "Overlaps":
        """Return the pairs of `mask` (P,) only."""
        return Overlaps(found=self.found[mask], truth=self.truth[mask], overlap=self.overlap[mask])


class Boxes(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One side of a comparison: `boxes` (n, 4) as corners, and `group` (n,): only boxes of one group are compared."""

    boxes: NDArray[np.float64]
    group: NDArray[np.int64]


def overlaps(
    truth: Boxes,
    found: Boxes,
    *,
    at_least: float,
    pixel: float = 0.0,
    of_found: NDArray[np.bool_] | None = None,
) -> Overlaps:
    """Return all pairs of one group whose intersection over union is at least `at_least`, which must be above 0.

    Args:
      pixel: what is added to every side: 1 where the corners x2, y2 are pixels of the box, 0 where they are its end.
      of_found: objects (M,) for which the intersection is divided by the area of the detection alone.
    """
    order = np.argsort(truth.group, kind="stable")
    ranked = truth.group[order]
    begin = np.searchsorted(ranked, found.group, "left")
    count = np.searchsorted(ranked, found.group, "right") - begin
    total = np.concatenate(([0], np.cumsum(count)))
    parts = []
    for low, high in _portions(total):
        rows = np.repeat(np.arange(low, high), count[low:high])
        within = np.arange(total[low], total[high]) - total[rows]
        objects = order[begin[rows] + within]
        shares = _shares(
            truth.boxes[objects],
            found.boxes[rows],
            pixel=pixel,
            of_found=np.zeros(len(rows), np.bool_) if of_found is None else of_found[objects],
        )
        enough = shares >= at_least
        parts.append((rows[enough], objects[enough], shares[enough]))
    if not parts:
        parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    rows, objects, shares = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Overlaps(found=rows, truth=objects, overlap=shares)


def _portions(total: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cut the detections into portions of about AT_ONCE pairs; `total` (K + 1,) counts the pairs before each."""
    cuts = [0]
    while cuts[-1] < len(total) - 1:
        cuts.append(max(cuts[-1] + 1, int(np.searchsorted(total, total[cuts[-1]] + AT_ONCE, "right")) - 1))
    return list(itertools.pairwise(cuts))


def _shares(
    truth: NDArray[np.float64], found: NDArray[np.float64], *, pixel: float, of_found: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the overlap of each row (n, 4) with the same row of the other; nothing shared is 0."""
    sides = np.minimum(truth[:, 2:], found[:, 2:]) - np.maximum(truth[:, :2], found[:, :2]) + pixel
    shared = np.prod(np.maximum(sides, 0), axis=1)
    area = np.prod(found[:, 2:] - found[:, :2] + pixel, axis=1)
    other = np.prod(truth[:, 2:] - truth[:, :2] + pixel, axis=1)
    whole = np.where(of_found, area, area + other - shared)
    meaningful = (shared > 0) & (whole > 0)
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=meaningful), np.float64)
