"""The budget solver: moves that use a budget well, drawn uniformly.

All moves from a net are tried once, their children's costs being sums over stages that are mostly known, and kept; a
draw is then a matter of microseconds.
"""

from collections.abc import Container
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from spnas.arch import Arch, Move, Space
from spnas.arch.move import SERIAL, SHRINKING, apply, neighbours
from spnas.arch.space import why_not
from spnas.search.budget import BAND_LOW, Budget
from spnas.search.history import CostOf

BOTH_WAYS = SERIAL + SHRINKING
KEPT_PARENTS = 512


class Step(NamedTuple):
    """A move, the net it leads to, and how much of the budget that uses."""

    move: Move
    child: Arch
    share: float


class Steps(NamedTuple):
    """The moves from a net inside its space: those into the band of the budget, and those that only come nearer.

    Several moves to one child are one step, so that what is uniform is the choice of the child. `nearer` is empty for
    a net in the band, and never leads over the budget from below it.
    """

    inside: tuple[Step, ...]
    nearer: tuple[Step, ...]


@lru_cache(maxsize=KEPT_PARENTS)
def steps(arch: Arch, space: Space, budget: Budget, cost: CostOf, kinds: tuple[str, ...] = BOTH_WAYS) -> Steps:
    """Return the moves of these kinds from `arch` that lead into the band, or nearer to it."""
    here = cost(arch)
    far, over = _distance(budget.share(here)), budget.exceeded(here)
    inside, nearer, known = list[Step](), list[Step](), {arch}
    for move in neighbours(arch, kinds=kinds):
        child = apply(arch, move)
        if child in known or why_not(child, space) is not None:
            continue
        known.add(child)
        spent = cost(child)
        step = Step(move, child, budget.share(spent))
        if budget.in_band(spent):
            inside.append(step)
        elif _distance(step.share) < far and (over or not budget.exceeded(spent)):
            nearer.append(step)
    return Steps(tuple(inside), tuple(nearer))


def _distance(share: float) -> float:
    """Return how far from the band a net is, in shares of the budget."""
    return max(BAND_LOW - share, share - 1, 0.0)


def draw_step(
    arch: Arch,
    draw: np.random.Generator,
    *,
    space: Space,
    budget: Budget,
    cost: CostOf,
    known: Container[str] = frozenset(),
    kinds: tuple[str, ...] = BOTH_WAYS,
) -> Step | None:
    """Draw uniformly among the moves from `arch` to new nets in the band of the budget; where there is none, among
    those that come nearer to the band; None when there is none of those either.

    known: ids of nets that are not new.
    """
    for found in steps(arch, space, budget, cost, kinds):
        new = [step for step in found if step.child.id not in known]
        if new:
            return new[int(draw.integers(len(new)))]
    return None


def draw_child(
    arch: Arch,
    draw: np.random.Generator,
    *,
    space: Space,
    budget: Budget,
    cost: CostOf,
    known: Container[str] = frozenset(),
    kinds: tuple[str, ...] = BOTH_WAYS,
    most_moves: int = 3,
) -> tuple[Arch, tuple[Move, ...]] | None:
    """Draw steps until a net is in the band of the budget, at most so many; None when there is no first one.

    From a net in the band that is a single step. From one that is far below, the child may still be below the band
    after the last step, but is nearer to it.
    """
    child, moves = arch, list[Move]()
    while len(moves) < most_moves and not (moves and budget.in_band(cost(child))):
        step = draw_step(child, draw, space=space, budget=budget, cost=cost, known=known, kinds=kinds)
        if step is None:
            break
        child, moves = step.child, [*moves, step.move]
    return (child, tuple(moves)) if moves else None
