"""The front of fitness against cost, kept up to date point by point, and its hypervolume."""

from bisect import bisect_left, bisect_right
from typing import NamedTuple


class Point(NamedTuple):
    """A trained candidate: how good it is, and its cost in the units of the objective."""

    number: int
    fitness: float
    cost: float


class Front:
    """The points that no other beats in both fitness and cost.

    hypervolume: the area that the front dominates, from fitness 0 and cost `reference` on. Adding a point takes
    time by the logarithm of the front's length, but for the points that it drives out.
    """

    def __init__(self, reference: float) -> None:
        self.reference = reference
        self.hypervolume = 0.0
        self._costs: list[float] = []
        self._points: list[Point] = []  # by rising cost, and so by rising fitness

    def __len__(self) -> int:
        return len(self._points)

    def add(self, point: Point) -> bool:
        """Take a point in, and say whether it is on the front; of two equal ones the first stays."""
        place = bisect_right(self._costs, point.cost)
        if place and self._points[place - 1].fitness >= point.fitness:
            return False
        first = bisect_left(self._costs, point.cost, hi=place)
        last = first
        while last < len(self._points) and self._points[last].fitness <= point.fitness:
            last += 1
        self.hypervolume += self._gained(point, first, last)
        self._costs[first:last] = [point.cost]
        self._points[first:last] = [point]
        return True

    def points(self) -> list[Point]:
        """Return the points by falling fitness."""
        return self._points[::-1]

    def beats(self, cost: float) -> float:
        """Return the highest fitness on the front at no more than `cost`; -inf where there is none."""
        place = bisect_right(self._costs, cost)
        return self._points[place - 1].fitness if place else float("-inf")

    def _gained(self, point: Point, first: int, last: int) -> float:
        """Return the area that is dominated by `point` alone; points `first` to `last` are those it drives out."""
        area, low = 0.0, max(0.0, self._points[first - 1].fitness) if first else 0.0
        begin = point.cost
        for beaten in self._points[first:last]:
            area += self._strip(begin, beaten.cost, max(low, 0.0), point.fitness)
            begin, low = beaten.cost, max(low, beaten.fitness)
        end = self._costs[last] if last < len(self._costs) else self.reference
        return area + self._strip(begin, end, low, point.fitness)

    def _strip(self, begin: float, end: float, low: float, high: float) -> float:
        return max(0.0, min(end, self.reference) - begin) * max(0.0, high - low)
