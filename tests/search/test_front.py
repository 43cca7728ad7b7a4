from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spnas.search.front import Front, Point

REFERENCE = 1.0
# few values, so that ties are common; costs beyond the reference and fitness below 0 too
fitnesses = st.integers(-2, 8).map(lambda n: n / 8)
costs = st.integers(1, 10).map(lambda n: n / 8)
sets = st.lists(st.tuples(fitnesses, costs), min_size=1, max_size=12).map(
    lambda pairs: [Point(i, fitness, cost) for i, (fitness, cost) in enumerate(pairs)]
)


def front_of(points: list[Point]) -> Front:
    front = Front(REFERENCE)
    for point in points:
        front.add(point)
    return front


def unbeaten(points: list[Point]) -> set[tuple[float, float]]:
    return {
        (p.fitness, p.cost)
        for p in points
        if not any(q.fitness >= p.fitness and q.cost <= p.cost and q[1:] != p[1:] for q in points)
    }


def area(points: list[Point]) -> float:
    """Count the cells of a grid that some point dominates; all values are eighths."""
    cells = [(x, y) for x in range(8) for y in range(8)]
    covered = sum(any(8 * p.cost <= x and 8 * p.fitness >= y + 1 for p in points) for x, y in cells)
    return covered / 64


@settings(deadline=None)
@given(sets)
def test_the_front_is_what_nothing_beats(points: list[Point]) -> None:
    front = front_of(points)
    assert {(p.fitness, p.cost) for p in front.points()} == unbeaten(points)
    assert len(front) == len(unbeaten(points)) == len(front.points())


@settings(deadline=None)
@given(sets)
def test_the_hypervolume_is_the_area_that_is_dominated(points: list[Point]) -> None:
    front = Front(REFERENCE)
    for number, point in enumerate(points):
        before = front.hypervolume
        front.add(point)
        assert front.hypervolume == pytest.approx(area(points[: number + 1]))
        assert front.hypervolume >= before


@settings(deadline=None)
@given(sets)
def test_whoever_is_on_the_front_was_said_to_be_when_it_was_added(points: list[Point]) -> None:
    front = Front(REFERENCE)
    for point in points:
        before = front.points()
        taken = front.add(point)
        assert taken == (point in front.points())
        assert taken or front.points() == before


@settings(deadline=None)
@given(sets, st.randoms(use_true_random=False))
def test_the_order_of_insertion_does_not_matter_up_to_which_of_equals_is_kept(
    points: list[Point], chance: Random
) -> None:
    first, other = front_of(points), front_of(chance.sample(points, len(points)))
    assert [p[1:] for p in other.points()] == [p[1:] for p in first.points()]
    assert other.hypervolume == pytest.approx(first.hypervolume)


def test_of_two_equal_points_the_first_stays() -> None:
    assert front_of([Point(4, 0.5, 0.5), Point(7, 0.5, 0.5)]).points() == [Point(4, 0.5, 0.5)]


@settings(deadline=None)
@given(sets)
def test_points_fall_in_fitness_and_in_cost(points: list[Point]) -> None:
    kept = front_of(points).points()
    assert kept == sorted(kept, key=lambda p: (-p.fitness, -p.cost))


@settings(deadline=None)
@given(sets, costs)
def test_what_beats_a_cost_is_the_best_at_no_more(points: list[Point], cost: float) -> None:
    affordable = [p.fitness for p in points if p.cost <= cost]
    assert front_of(points).beats(cost) == max(affordable, default=float("-inf"))
