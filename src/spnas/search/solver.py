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
KEPT_PARENTS, KEPT_MOVES = 1024, 8192

Leads = Literal["inside", "nearer", "nowhere"]  # in the band of the budget, nearer to it than before, of no use


class Step(NamedTuple):
    """A move, and the net it leads to."""

    move: Move
    child: Arch


class _Parent(NamedTuple):
    """What is known of a net that moves start from. `tried` grows with every move that is tried: where it leads and to
    which id. The nets themselves are not kept, they would take ten times the memory."""

    arch: Arch
    space: Space
    budget: Budget
    cost: CostOf
    distance: float
    over: bool
    moves: tuple[Move, ...]
    tried: dict[int, tuple[Leads, str]]

    def where(self, number: int) -> tuple[Leads, str]:
        """Return where a move leads, from what is known or by trying it."""
        known = self.tried.get(number)
        if known is None:
            known = self.tried[number] = _try(self, self.moves[number])
        return known


@lru_cache(maxsize=KEPT_MOVES)
def moves_of(arch: Arch, kind: str) -> tuple[Move, ...]:
    """Return every move of a kind that can be made from `arch`; those that were asked for lately are kept."""
    return tuple(_SEEN.setdefault(move, move) for move in neighbours(arch, kinds=(kind,)))


_SEEN: dict[Move, Move] = {}  # equal moves are one object: there are a few thousand at most


@lru_cache(maxsize=KEPT_PARENTS)
def _parent(arch: Arch, space: Space, budget: Budget, cost: CostOf, kinds: tuple[str, ...]) -> _Parent:
    spent = cost(arch)
    distance, over = _distance(budget.share(spent)), budget.exceeded(spent)
    moves = tuple(move for kind in kinds for move in moves_of(arch, kind))
    return _Parent(arch, space, budget, cost, distance, over, moves, {})


def _try(parent: _Parent, move: Move) -> tuple[Leads, str]:
    child = apply(parent.arch, move)
    if why_not(child, parent.space) is not None:
        return _NOWHERE
    spent = parent.cost(child)
    share = parent.budget.share(spent)
    over = share >= 1 and parent.budget.exceeded(spent)
    if share >= BAND_LOW and not over:
        return "inside", child.id
    nearer = _distance(share) < parent.distance and (parent.over or not over)
    return ("nearer", child.id) if nearer else _NOWHERE


_NOWHERE: tuple[Leads, str] = ("nowhere", "")


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
    found: Move | None = None
    for number in draw.permutation(len(parent.moves)).tolist():
        leads, id = parent.where(number)
        if leads == "nowhere" or (leads == "nearer" and found) or id in known:
            continue
        found = parent.moves[number]
        if leads == "inside":
            break
    return Step(found, apply(arch, found)) if found else None


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
