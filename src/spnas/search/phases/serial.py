"""The serial phase: children of the front by one to three swap and expand moves.

Source: SP-NAS, serial phase. We differ: every parent is continued unchanged for as many steps as a child (its
control), so that a child's gain is not mistaken for mere further training.
"""

import numpy as np

from spnas.arch import Arch, Candidate, Move
from spnas.arch.move import apply, neighbours
from spnas.arch.space import why_not
from spnas.rng import rng
from spnas.search.front import front, points, price_of
from spnas.search.history import CostOf, History
from spnas.search.settings import SearchSettings

TRIES_PER_PARENT = 100
CONTROL_TRIES = 3


def propose(number: int, history: History, settings: SearchSettings, cost: CostOf) -> Candidate | None:
    """Return candidate `number`, from what it may see of `history`; None when the phase is over."""
    plan = settings.plan
    if number == 0:
        return Candidate(number=0, role="root", arch=settings.root, steps=plan.root_steps, seed=settings.seed)
    if sum(c.role == "child" for c in history.candidates) >= plan.candidates:
        return None
    seen = history.seen_by(number, settings.lag)
    draw = rng(settings.seed, "propose", number)
    parents = [point.number for point in front(points(seen, price_of(settings.budget, cost)))]
    for parent in draw.permutation(parents).tolist():
        arch = seen.candidates[parent].arch
        control = seen.control_of(parent)
        if control is None or seen.failed(control):
            if seen.tries_at_control(parent) >= CONTROL_TRIES:
                continue  # without a control no child of it could be told from further training
            return Candidate(
                number=number, role="control", arch=arch, steps=plan.child_steps, seed=settings.seed, parent=parent
            )
        found = _new_child(arch, seen, settings, cost, draw)
        if found:
            child, moves = found
            return Candidate(
                number=number,
                role="child",
                arch=child,
                steps=plan.child_steps,
                seed=settings.seed,
                parent=parent,
                moves=moves,
            )
    return None


def _new_child(
    arch: Arch, seen: History, settings: SearchSettings, cost: CostOf, draw: np.random.Generator
) -> tuple[Arch, tuple[Move, ...]] | None:
    """Draw moves until a child is new, inside the space and within the budget."""
    known = {c.arch.id for c in seen.candidates}
    for _ in range(TRIES_PER_PARENT):
        child, moves = arch, []
        for _ in range(int(draw.integers(1, settings.most_moves + 1))):
            move = draw_move(child, draw)
            child = apply(child, move)
            moves.append(move)
        fits = child.id not in known and why_not(child, settings.space) is None
        if fits and not settings.budget.exceeded(cost(child)):
            return child, tuple(moves)
    return None


def draw_move(arch: Arch, draw: np.random.Generator) -> Move:
    """Draw a kind of move uniformly among those possible from here, then one of that kind."""
    by_kind: dict[str, list[Move]] = {}
    for move in neighbours(arch):
        by_kind.setdefault(move.kind, []).append(move)
    kinds = sorted(by_kind)
    moves = by_kind[kinds[int(draw.integers(len(kinds)))]]
    return moves[int(draw.integers(len(moves)))]
