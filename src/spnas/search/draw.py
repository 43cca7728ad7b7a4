"""How a child is drawn from a parent: by free moves, or by moves that are mended to use the budget."""

from collections.abc import Callable, Container

import numpy as np

from spnas.arch import Arch, Move, Space
from spnas.arch.move import SERIAL, apply, neighbours
from spnas.arch.space import why_not
from spnas.search.budget import Budget, CostOf
from spnas.search.solver import BOTH_WAYS, draw_step

TRIES = 100
MOST_REPAIRS = 3

Drawn = tuple[Arch, tuple[Move, ...]]
Draw = Callable[..., Drawn | None]


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
    """Draw one to `most_moves` moves until the child is new, inside the space and within the budget."""
    for _ in range(TRIES):
        child, moves = arch, list[Move]()
        for _ in range(int(draw.integers(1, most_moves + 1))):
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
    """Draw a move, then up to three more, growing or shrinking, that bring the child into the band of the budget.

    From a net far below the band, what comes nearer to it is taken too. Where nothing of that is found, free moves
    are drawn.
    """
    share = budget.share(cost(arch))
    for _ in range(TRIES // 10):
        move = draw_move(arch, draw, kinds)
        child, moves = apply(arch, move), [move]
        while why_not(child, space) is None and not budget.in_band(cost(child)) and len(moves) <= MOST_REPAIRS:
            step = draw_step(child, draw, space=space, budget=budget, cost=cost, known=known, kinds=BOTH_WAYS)
            if step is None:
                break
            child, moves = step.child, [*moves, step.move]
        spent = cost(child)
        nearer = budget.in_band(spent) or (budget.share(spent) > share and not budget.exceeded(spent))
        if nearer and child.id not in known and why_not(child, space) is None:
            return child, tuple(moves)
    return draw_free(arch, draw, space=space, budget=budget, cost=cost, known=known, most_moves=most_moves, kinds=kinds)


def draw_move(arch: Arch, draw: np.random.Generator, kinds: tuple[str, ...] = SERIAL) -> Move:
    """Draw a kind of move uniformly among those possible from here, then one of that kind."""
    by_kind: dict[str, list[Move]] = {}
    for move in neighbours(arch, kinds=kinds):
        by_kind.setdefault(move.kind, []).append(move)
    names = sorted(by_kind)
    moves = by_kind[names[int(draw.integers(len(names)))]]
    return moves[int(draw.integers(len(moves)))]
