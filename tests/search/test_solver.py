"""The solver on the made-up landscape: what it may draw is found by brute force, and drawn equally often."""

import time
from collections import Counter

import numpy as np
import pytest
from tests.search.conftest import ROOT, cost

from spnas.arch import Arch, parse
from spnas.arch.move import apply, apply_all, neighbours
from spnas.arch.space import around, why_not
from spnas.rng import rng
from spnas.search.budget import Budget, Spent
from spnas.search.solver import BOTH_WAYS, draw_child, draw_step

SPACE = around(ROOT)
BUDGET = Budget(gmacs=1.05 * cost(ROOT).gmacs)  # the root is in its band
WIDE = Budget(gmacs=2 * cost(ROOT).gmacs)  # the root is far below


def allowed(arch: Arch, budget: Budget, known: frozenset[str] = frozenset()) -> list[str]:
    """Return where a move may lead by counting every neighbour anew, once a move."""
    children = [apply(arch, move) for move in neighbours(arch, kinds=BOTH_WAYS)]
    bound = budget.gmacs or 0.0
    return [
        c.id
        for c in children
        if why_not(c, SPACE) is None
        and 0.9 * bound <= sum(w * w for w in c.widths) / 1e5 <= bound
        and c.id not in known
    ]


def draw_many(arch: Arch, budget: Budget, count: int, known: frozenset[str] = frozenset()) -> Counter[str]:
    draw = rng(0, "test")
    steps = [draw_step(arch, draw, space=SPACE, budget=budget, cost=cost, known=known) for _ in range(count)]
    return Counter(step.child.id for step in steps if step)


def chi_square(found: Counter[str], expected: Counter[str]) -> tuple[float, int]:
    total, moves = sum(found.values()), sum(expected.values())
    parts = [(found[c] - total * n / moves) ** 2 / (total * n / moves) for c, n in expected.items()]
    return sum(parts), len(parts) - 1


def test_moves_into_the_band_are_drawn_equally_often_and_no_others() -> None:
    expected = Counter(allowed(ROOT, BUDGET))
    assert len(expected) >= 5
    found = draw_many(ROOT, BUDGET, 4000)
    assert set(found) == set(expected)
    statistic, degrees = chi_square(found, expected)
    assert statistic < degrees + 3.1 * np.sqrt(2 * degrees) + 4  # the 99.9 % quantile or a little more


def test_what_is_known_is_not_drawn_and_the_rest_stays_uniform() -> None:
    some = frozenset(sorted(set(allowed(ROOT, BUDGET)))[::2])
    expected = Counter(allowed(ROOT, BUDGET, some))
    found = draw_many(ROOT, BUDGET, 3000, some)
    assert set(found) == set(expected)
    statistic, degrees = chi_square(found, expected)
    assert statistic < degrees + 3.1 * np.sqrt(2 * degrees) + 4


def by_definition(arch: Arch, budget: Budget) -> set[str]:
    """Return where a step may lead: into the band; where no move does, nearer to it, and never over it from below."""
    bound = budget.gmacs or 0.0

    def share(net: Arch) -> float:
        return sum(w * w for w in net.widths) / 1e5 / bound

    def off(net: Arch) -> float:
        return max(0.9 - share(net), share(net) - 1, 0.0)

    nets = [n for n in (apply(arch, move) for move in neighbours(arch, kinds=BOTH_WAYS)) if why_not(n, SPACE) is None]
    inside = {n.id for n in nets if off(n) == 0}
    return inside or {n.id for n in nets if off(n) < off(arch) and (share(arch) > 1 or share(n) <= 1)}


@pytest.mark.parametrize("times", [0.3, 0.7, 0.9, 0.99, 1.02, 1.1, 1.12, 1.15, 1.2, 1.3, 1.5, 3.0])
def test_steps_lead_where_the_definition_says_from_below_from_inside_and_from_above(times: float) -> None:
    budget = Budget(gmacs=times * cost(ROOT).gmacs)
    expected = by_definition(ROOT, budget)
    assert set(draw_many(ROOT, budget, 60 * max(1, len(expected)))) == expected


def test_where_all_is_known_nothing_is_drawn() -> None:
    assert not draw_many(ROOT, BUDGET, 3, frozenset(allowed(ROOT, BUDGET)))


def test_from_far_below_steps_come_nearer_until_the_band_is_reached() -> None:
    draw, arch, shares = rng(1, "test"), ROOT, [WIDE.share(cost(ROOT))]
    while shares[-1] < 0.9:
        step = draw_step(arch, draw, space=SPACE, budget=WIDE, cost=cost)
        assert step is not None
        arch = step.child
        shares.append(WIDE.share(cost(arch)))
    assert shares == sorted(shares)
    assert shares[-1] <= 1


def test_from_over_the_budget_steps_lead_back() -> None:
    large = parse("basic: 16x4 / 32x4 / 64x4 / 128x6")
    budget = Budget(gmacs=0.8 * cost(large).gmacs)
    drawn = draw_child(large, rng(2, "test"), space=around(large), budget=budget, cost=cost, most_moves=30)
    assert drawn is not None
    assert budget.in_band(cost(drawn[0]))


@pytest.mark.parametrize("budget", [BUDGET, WIDE, Budget(params=800), Budget(gmacs=1.0, params=900)], ids=str)
def test_children_are_what_their_moves_say_inside_the_space_and_the_band(budget: Budget) -> None:
    for seed in range(30):
        drawn = draw_child(ROOT, rng(seed, "test"), space=SPACE, budget=budget, cost=cost, most_moves=20)
        assert drawn is not None
        child, moves = drawn
        assert apply_all(ROOT, moves) == child
        assert why_not(child, SPACE) is None
        assert budget.in_band(cost(child))


def test_a_child_takes_no_more_moves_than_it_may() -> None:
    drawn = draw_child(ROOT, rng(0, "test"), space=SPACE, budget=Budget(gmacs=100.0), cost=cost, most_moves=2)
    assert drawn is not None
    assert len(drawn[1]) == 2
    assert cost(drawn[0]).gmacs > cost(ROOT).gmacs


def test_nets_outside_of_the_space_are_never_priced() -> None:
    """A latency table knows no others."""

    def strict(arch: Arch) -> Spent:
        assert why_not(arch, SPACE) is None
        return cost(arch)

    for seed in range(5):
        assert draw_child(ROOT, rng(seed, "test"), space=SPACE, budget=WIDE, cost=strict, most_moves=20)


def test_a_draw_takes_microseconds() -> None:
    draw_many(ROOT, BUDGET, 100)
    began = time.process_time()
    draw_many(ROOT, BUDGET, 2000)
    assert time.process_time() - began < 2000 * 200e-6
