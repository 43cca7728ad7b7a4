"""Which of several nets looks best, by a ridge regression on what was learned so far.

It is kept as sums, so that learning and asking take the same time however much there is. Features are shares, so
that nets of unlike depth compare: where blocks lie, where widths double, how many stages there are, the cost.
"""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from spnas.arch import Arch
from spnas.arch.arch import HARD_LIMIT_STAGES

RIDGE = 1.0
MOST_DOUBLINGS = 4
FEATURES = 3 + 2 * HARD_LIMIT_STAGES + MOST_DOUBLINGS


def features(arch: Arch, share: float) -> NDArray[np.float64]:
    """Return what a net looks like, (FEATURES,); `share` is the part of the budget that it uses."""
    depth, edges = arch.block_count, (0, *arch.starts, arch.block_count)
    found = np.zeros(FEATURES)
    found[:3] = 1.0, math.log(depth), math.log(max(share, 1e-9))
    for stage, (begin, end) in enumerate(itertools.pairwise(edges)):
        found[3 + stage] = (end - begin) / depth
    for stage, copies in enumerate(arch.copies):
        found[3 + HARD_LIMIT_STAGES + stage] = copies
    for number, block in enumerate(arch.doublings[:MOST_DOUBLINGS]):
        found[3 + 2 * HARD_LIMIT_STAGES + number] = block / depth
    return found


class Predictor:
    """Predicts fitness; `count` says from how many nets."""

    def __init__(self) -> None:
        self.count = 0
        self._squares = RIDGE * np.eye(FEATURES)
        self._products = np.zeros(FEATURES)
        self._sum = 0.0
        self._totals = np.zeros(FEATURES)
        self._weights: NDArray[np.float64] | None = None

    def learn(self, x: NDArray[np.float64], fitness: float) -> None:
        """Take in that a net with features `x` has this fitness."""
        self.count += 1
        self._squares += np.outer(x, x)
        self._products += x * fitness
        self._totals += x
        self._sum += fitness
        self._weights = None

    def predict(self, x: NDArray[np.float64]) -> float:
        """Return the fitness that a net with features `x` should have, as a difference from the mean of all."""
        if self._weights is None:
            mean = self._sum / max(self.count, 1)
            found = np.linalg.solve(self._squares, self._products - mean * self._totals)
            self._weights = found.astype(np.float64)
        return float(np.dot(x, self._weights))
