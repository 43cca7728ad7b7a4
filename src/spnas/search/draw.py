"""How a child is drawn from a parent: by free moves, or by moves that are mended to use the budget."""

from collections.abc import Container

import numpy as np

from spnas.arch import Arch, Move, Space
from spnas.arch.move import SERIAL, SHRINKING, apply
from spnas.arch.space import why_not
from spnas.search.budget import Budget, CostOf
from spnas.search.solver import draw_step, moves_of

TRIES, TRIES_NEAR = 100, 20
MOST_REPAIRS = 3
GROWING = ("expand-block", "expand-stage")
MOST_TRIED = 8  # a repair need not be drawn uniformly: what is new about a child are the moves before

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
        most = 2 * len(moves) + MOST_REPAIRS
        while not budget.in_band(cost(child)) and len(moves) < most:
            ways = SHRINKING if budget.exceeded(cost(child)) else GROWING
            step = draw_step(child, draw, space=space, budget=budget, cost=cost, kinds=ways, most_tried=MOST_TRIED)
            if step is None:
                break
            child, moves = step.child, [*moves, step.move]
        spent = cost(child)
        good = budget.in_band(spent) or (budget.share(spent) > share and not budget.exceeded(spent))
        if good and child.id not in known:
            return child, tuple(moves)
    return draw_free(arch, draw, space=space, budget=budget, cost=cost, known=known, most_moves=most_moves, kinds=kinds)


def draw_move(arch: Arch, draw: np.random.Generator, kinds: tuple[str, ...] = SERIAL) -> Move:
    """Draw a kind of move uniformly among those possible from here, then one of that kind."""
    for number in draw.permutation(len(kinds)).tolist():  # the first that is possible is a uniform draw among all such
        if moves := moves_of(arch, kinds[number]):
            return moves[int(draw.integers(len(moves)))]
    raise ValueError(f"no move of {', '.join(kinds)} can be made from {arch.text!r}")
