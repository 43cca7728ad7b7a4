"""How a child is drawn from a parent: by free moves, or by moves that are mended to use the budget."""

from collections.abc import Container
from typing import NamedTuple

import numpy as np

from spnas.arch import Arch, Move, Space
from spnas.arch.move import SERIAL, SHRINKING, apply
from spnas.arch.space import why_not
from spnas.search.budget import Budget, CostOf, Spent
from spnas.search.solver import moves_of

TRIES, TRIES_NEAR = 100, 20
MOST_REPAIRS = 3
GROWING = ("expand-block", "expand-stage")
MOST_TRIED = 4  # a repair need not be drawn uniformly: what is new about a child are the moves before

Drawn = tuple[Arch, tuple[Move, ...]]


def draw_free(
    arch: Arch,
    draw: np.random.Generator,
    *,
    space: Space,
    budget: Budget,
    cost: CostOf,
    known: Container[str],
    most_moves: int = 3,
    kinds: tuple[str, ...] = SERIAL,
) -> Drawn | None:
    """Draw one to `most_moves` moves until the child is new, inside the space and within the budget; where tries fail,
    one more for every so many: what is near was tried already."""
    for attempt in range(TRIES):
        child, moves = arch, list[Move]()
        for _ in range(int(draw.integers(1, most_moves + attempt // TRIES_NEAR + 1))):
            move = draw_move(child, draw, kinds)
            child = apply(child, move)
            moves.append(move)
        fits = child.id not in known and why_not(child, space) is None
        if fits and not budget.exceeded(cost(child)):
            return child, tuple(moves)
    return None


def draw_repaired(
    arch: Arch,
    draw: np.random.Generator,
    *,
    space: Space,
    budget: Budget,
    cost: CostOf,
    known: Container[str],
    most_moves: int = 3,
    kinds: tuple[str, ...] = SERIAL,
) -> Drawn | None:
    """Draw one to `most_moves` moves, then some more, growing or shrinking, that bring the child into the band of the
    budget.

    From a net far below the band, what comes nearer to it is taken too. Where nothing of that is found, free moves
    are drawn.
    """
    share = budget.share(cost(arch))
    for _ in range(TRIES // 10):
        child, moves = arch, list[Move]()
        for _ in range(int(draw.integers(1, most_moves + 1))):
            move = draw_move(child, draw, kinds)
            moved = apply(child, move)
            if why_not(moved, space) is None:  # one step outside would waste all the others
                child, moves = moved, [*moves, move]
        most, spent = 2 * len(moves) + MOST_REPAIRS, cost(child)
        while not budget.in_band(spent) and len(moves) < most:
            over = budget.exceeded(spent)
            repair = _draw_repair(child, draw, over=over, space=space, budget=budget, cost=cost)
            if repair is None:
                break
            child, spent, moves = repair.child, repair.spent, [*moves, repair.move]
        good = budget.in_band(spent) or (budget.share(spent) > share and not budget.exceeded(spent))
        if good and child.id not in known:
            return child, tuple(moves)
    return draw_free(arch, draw, space=space, budget=budget, cost=cost, known=known, most_moves=most_moves, kinds=kinds)


class _Repair(NamedTuple):
    move: Move
    child: Arch
    spent: Spent


def _draw_repair(
    arch: Arch, draw: np.random.Generator, *, over: bool, space: Space, budget: Budget, cost: CostOf
) -> _Repair | None:
    """Draw a move that shrinks a net `over` the budget, or lets one below the band grow: of a few, the first that leads
    into the band, else one that does not lead beyond its other end."""
    moves = [move for kind in (SHRINKING if over else GROWING) for move in moves_of(arch, kind)]
    found: _Repair | None = None
    for number in draw.permutation(len(moves))[:MOST_TRIED].tolist():
        child = apply(arch, moves[number])
        if why_not(child, space) is not None:
            continue
        repair = _Repair(moves[number], child, cost(child))
        if budget.in_band(repair.spent):
            return repair
        if found is None and budget.exceeded(repair.spent) == over:
            found = repair
    return found


def draw_move(arch: Arch, draw: np.random.Generator, kinds: tuple[str, ...] = SERIAL) -> Move:
    """Draw a kind of move uniformly among those possible from here, then one of that kind."""
    for number in draw.permutation(len(kinds)).tolist():  # the first that is possible is a uniform draw among all such
        if moves := moves_of(arch, kinds[number]):
            return moves[int(draw.integers(len(moves)))]
    raise ValueError(f"no move of {', '.join(kinds)} can be made from {arch.text!r}")
