"""Miss rate over false positives per picture, and its log-average (LAMR): pedestrian detection's number."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.evaluate.metrics import Curve

REFERENCES = np.logspace(-2, 0, 9)
KEPT = np.logspace(-3, 1, 81)  # false positives per picture at which a curve is kept
KEPT[20:61:5] = REFERENCES  # the same to the last bit
FLOOR = 1e-10  # stands for a miss rate of 0, which has no logarithm


class Judged(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Detections that count, as hits and misses, over `pictures` with `objects` to find (more than 0).

    Shapes: scores (n,), hit (n,); those of equal score in the order in which they are to count.
    """

    scores: NDArray[np.float64]
    hit: NDArray[np.bool_]
    objects: int
    pictures: int


def miss_rate(judged: Judged, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the miss rate at each of `at` false positives per picture: after the last detection within them."""
    order = np.argsort(-judged.scores, kind="stable")
    hits, misses = np.cumsum(judged.hit[order]), np.cumsum(~judged.hit[order])
    missed = np.concatenate(([1.0], 1.0 - hits / judged.objects))
    within = np.searchsorted(misses / judged.pictures, at, "right")
    return np.asarray(missed[within], np.float64)


def log_average(judged: Judged) -> float:
    """Return LAMR: the geometric mean of the miss rates at nine points from .01 to 1."""
    rates = np.maximum(miss_rate(judged, REFERENCES), FLOOR)
    return float(np.exp(np.log(rates).mean()))


def curve(judged: Judged) -> Curve:
    """Return the miss rate at 81 points from .001 to 10 false positives per picture."""
    return Curve(x=tuple(KEPT.tolist()), y=tuple(miss_rate(judged, KEPT).tolist()))
