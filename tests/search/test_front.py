from hypothesis import given
from hypothesis import strategies as st
from tests.search.conftest import ROOT

from spnas.arch import Candidate, Outcome
from spnas.search.front import Point, fitness, front, gain
from spnas.search.history import History

values = st.floats(0, 1, allow_subnormal=False)  # the session flushes subnormals, as training does
sets = st.lists(st.tuples(values, values), min_size=1).map(
    lambda pairs: [Point(i, fit, cost) for i, (fit, cost) in enumerate(pairs)]
)


def beats(a: Point, b: Point) -> bool:
    return a.fitness >= b.fitness and a.cost <= b.cost and a[1:] != b[1:]


@given(sets)
def test_nothing_on_the_front_is_beaten_and_everything_else_is_beaten_or_equal(points: list[Point]) -> None:
    kept = front(points)
    assert kept
    assert not any(beats(p, q) for p in points for q in kept)
    for point in points:
        assert any(beats(q, point) or q[1:] == point[1:] for q in kept)


@given(sets)
def test_the_front_falls_in_fitness_and_in_cost(points: list[Point]) -> None:
    kept = front(points)
    assert kept == sorted(kept, key=lambda p: (-p.fitness, -p.cost))


def _history(*aps: float | None) -> History:
    """Return root, its control, and a child, with these APs; None is a failure."""
    candidates = (
        Candidate(number=0, role="root", arch=ROOT, steps=9, seed=0),
        Candidate(number=1, role="control", arch=ROOT, steps=9, seed=0, parent=0),
        Candidate(number=2, role="child", arch=ROOT, steps=9, seed=0, parent=0),
    )
    outcomes = {
        n: Outcome(number=n, failure="died") if ap is None else Outcome(number=n, metrics={"ap": ap}, gmacs=1.0)
        for n, ap in enumerate(aps)
    }
    return History(candidates, outcomes)


def test_a_move_that_does_nothing_has_no_gain_however_much_further_training_brings() -> None:
    history = _history(0.3, 0.4, 0.4)
    assert gain(history, 2) == 0.0
    assert fitness(history) == {0: 0.3, 2: 0.3}


def test_without_its_control_a_child_has_no_fitness() -> None:
    assert fitness(_history(0.3, None, 0.9)) == {0: 0.3}
    assert fitness(_history(0.3)) == {0: 0.3}


def test_a_failed_child_has_no_fitness() -> None:
    assert fitness(_history(0.3, 0.4, None)) == {0: 0.3}
