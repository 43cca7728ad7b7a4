"""The budget solver: moves that use a budget well, drawn uniformly.

Moves are tried in a random order until one will do, so the first that does is a uniform draw among all that do. What
was tried is kept, costs are sums over stages that are mostly known: a draw is a matter of microseconds.
"""

from collections.abc import Container
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from spnas.arch import Arch, Move, Space
from spnas.arch.move import SERIAL, SHRINKING, apply, neighbours
from spnas.arch.space import why_not
from spnas.search.budget import BAND_LOW, Budget, CostOf

BOTH_WAYS = SERIAL + SHRINKING
KEPT_PARENTS = 1024


class Step(NamedTuple):
    """A move, the net it leads to, and whether that is in the band of the budget, nearer to it than the parent, or
    of no use."""

    move: Move
    child: Arch
    leads: Literal["inside", "nearer", "nowhere"]


class _Parent(NamedTuple):
    """What is known of a net that moves start from; `tried` grows with every move that is tried."""

    arch: Arch
    space: Space
    budget: Budget
    cost: CostOf
    distance: float
    over: bool
    moves: tuple[Move, ...]
    tried: dict[int, Step]

    def step(self, number: int) -> Step:
        """Return where a move leads, from what is known or by trying it."""
        if number not in self.tried:
            self.tried[number] = _try(self, self.moves[number])
        return self.tried[number]


@lru_cache(maxsize=KEPT_PARENTS)
def _parent(arch: Arch, space: Space, budget: Budget, cost: CostOf, kinds: tuple[str, ...]) -> _Parent:
    spent = cost(arch)
    distance, over = _distance(budget.share(spent)), budget.exceeded(spent)
    return _Parent(arch, space, budget, cost, distance, over, tuple(neighbours(arch, kinds=kinds)), {})


def _try(parent: _Parent, move: Move) -> Step:
    child = apply(parent.arch, move)
    if why_not(child, parent.space) is not None:
        return Step(move, child, "nowhere")
    spent = parent.cost(child)
    if parent.budget.in_band(spent):
        return Step(move, child, "inside")
    nearer = _distance(parent.budget.share(spent)) < parent.distance
    return Step(move, child, "nearer" if nearer and (parent.over or not parent.budget.exceeded(spent)) else "nowhere")


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
    """Draw uniformly among the moves from `arch` to new nets of the space in the band of the budget; where there is
    none, among those that come nearer to the band, not over the budget from below it; None when there is no such
    move either.

    known: ids of nets that are not new. cost: the same function every time, since what it told is kept.
    """
    parent = _parent(arch, space, budget, cost, kinds)
    nearer: Step | None = None
    for number in draw.permutation(len(parent.moves)).tolist():
        step = parent.step(number)
        if step.leads == "nowhere" or (step.leads == "nearer" and nearer) or step.child.id in known:
            continue
        if step.leads == "inside":
            return step
        nearer = step
    return nearer


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
