"""Children by free moves and by mended ones, on the made-up landscape."""

from collections import Counter
from collections.abc import Callable

import pytest
from tests.search.conftest import ROOT, cost

from spnas.arch import Arch, Move
from spnas.arch.move import KINDS, SERIAL, apply_all, neighbours
from spnas.arch.space import around, why_not
from spnas.rng import rng
from spnas.search.budget import Budget, Spent
from spnas.search.draw import MOST_REPAIRS, Drawn, draw_free, draw_move, draw_repaired
from spnas.search.solver import moves_of

SPACE = around(ROOT)
FULL = Budget(gmacs=1.05 * cost(ROOT).gmacs)  # the root is in its band
WIDE = Budget(gmacs=2 * cost(ROOT).gmacs)


@pytest.mark.parametrize("make", [draw_free, draw_repaired])
@pytest.mark.parametrize("budget", [FULL, WIDE], ids=["full", "wide"])
def test_children_are_new_in_the_space_within_the_budget_and_what_their_moves_say(
    make: Callable[..., Drawn | None], budget: Budget
) -> None:
    known = {ROOT.id}
    for seed in range(60):
        drawn = make(ROOT, rng(seed, "test"), space=SPACE, budget=budget, cost=cost, known=known)
        assert drawn is not None
        child, moves = drawn
        assert child.id not in known
        assert why_not(child, SPACE) is None
        assert not budget.exceeded(cost(child))
        assert apply_all(ROOT, moves) == child
        known.add(child.id)


def test_mended_children_are_in_the_band_where_their_parent_is() -> None:
    for seed in range(100):
        drawn = draw_repaired(ROOT, rng(seed, "test"), space=SPACE, budget=FULL, cost=cost, known={ROOT.id})
        assert drawn is not None
        assert FULL.in_band(cost(drawn[0]))
        assert 1 <= len(drawn[1]) <= 2 * 3 + MOST_REPAIRS


def test_mended_children_of_a_small_net_use_more_of_the_budget() -> None:
    for seed in range(50):
        drawn = draw_repaired(ROOT, rng(seed, "test"), space=SPACE, budget=WIDE, cost=cost, known={ROOT.id})
        assert drawn is not None
        assert cost(drawn[0]).gmacs > cost(ROOT).gmacs


def test_free_children_take_one_to_as_many_moves_as_they_may() -> None:
    taken = Counter[int]()
    for seed in range(300):
        drawn = draw_free(ROOT, rng(seed, "test"), space=SPACE, budget=WIDE, cost=cost, known=set(), most_moves=3)
        assert drawn is not None
        taken[len(drawn[1])] += 1
    assert set(taken) == {1, 2, 3}
    assert min(taken.values()) > 60


@pytest.mark.parametrize("make", [draw_free, draw_repaired])
def test_nets_outside_of_the_space_are_never_priced(make: Callable[..., Drawn | None]) -> None:
    """A latency table knows no others."""

    def strict(arch: Arch) -> Spent:
        assert why_not(arch, SPACE) is None
        return cost(arch)

    six = apply_all(ROOT, (Move("expand-stage"), Move("expand-stage")))
    assert len(six.stages) == SPACE.max_stages  # one more is outside
    budget = Budget(gmacs=1.05 * cost(six).gmacs)
    for seed in range(100):
        assert make(six, rng(seed, "test"), space=SPACE, budget=budget, cost=strict, known=set())


@pytest.mark.parametrize("make", [draw_free, draw_repaired])
def test_where_nothing_fits_nothing_is_drawn(make: Callable[..., Drawn | None]) -> None:
    tiny = Budget(gmacs=0.1 * cost(ROOT).gmacs)
    assert make(ROOT, rng(0, "test"), space=SPACE, budget=tiny, cost=cost, known=set()) is None


def test_kinds_of_moves_are_drawn_equally_often_and_all_moves_of_a_kind() -> None:
    draw = rng(0, "test")
    drawn = Counter(draw_move(ROOT, draw) for _ in range(4000))
    assert set(drawn) == set(neighbours(ROOT))
    kinds = Counter[str]()
    for move, times in drawn.items():
        kinds[move.kind] += times
    assert set(kinds) == set(SERIAL)
    assert all(abs(times - 1000) < 110 for times in kinds.values())  # four standard deviations
    assert all(abs(drawn[m] / kinds[m.kind] * len(moves_of(ROOT, m.kind)) - 1) < 0.5 for m in drawn)


def test_kinds_that_are_not_possible_leave_their_share_to_the_others() -> None:
    draw = rng(0, "test")
    kinds = ("remove-copy", "expand-stage", "narrow")  # the root has no copies
    drawn = Counter(draw_move(ROOT, draw, kinds).kind for _ in range(1000))
    assert drawn["remove-copy"] == 0
    assert abs(drawn["expand-stage"] - 500) < 65
    with pytest.raises(ValueError, match="no move of remove-copy"):
        draw_move(ROOT, draw, ("remove-copy",))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_of_moves_is_what_there_is(kind: str) -> None:
    assert list(moves_of(ROOT, kind)) == list(neighbours(ROOT, kinds=(kind,)))
