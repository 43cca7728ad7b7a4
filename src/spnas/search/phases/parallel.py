"""The parallel phase: copies of stages beside the best serial net.

Source: SP-NAS, parallel phase: a copy is added with a probability that falls with its FLOPs. We differ where moves are
repaired: one copy comes or goes at a time, from the best net so far, and blocks are removed where the budget would be
exceeded, so that copies have to be worth the depth they cost.
"""

from functools import partial

import msgspec
import numpy as np

from spnas.arch import Arch, Candidate, Move
from spnas.arch.move import SHRINKING, apply, neighbours
from spnas.arch.space import why_not
from spnas.search.archive import Archive
from spnas.search.budget import CostOf
from spnas.search.children import first_root, least_behind, next_child
from spnas.search.draw import Drawn
from spnas.search.front import Point
from spnas.search.settings import SearchSettings
from spnas.search.solver import draw_step

TRIES = 30
MOST_COPIES_A_CHILD = 3
MOST_REPAIRS = 6
REMOVING = 0.25  # share of moves that take a copy away, where there is one
BASES = 4  # serial nets that copies are tried on, best first, until one has room for them


def propose(number: int, archive: Archive, settings: SearchSettings, cost: CostOf) -> Candidate | None:
    """Return candidate `number`, None when the phase is over."""
    root = first_root(number, archive, settings, "parallel")
    if root is not None:
        return root
    if len(archive.of_role("child", "parallel")) >= settings.plan.copies and not archive.promising:
        return least_behind(number, archive, "parallel")
    draw = partial(_draw, archive=archive, settings=settings, cost=cost)
    for parents in _parents(archive, settings):
        found = next_child(number, archive, settings, phase="parallel", parents=parents, draw=draw)
        if found is not None:
            return found
    return None


def _parents(archive: Archive, settings: SearchSettings) -> list[dict[int, Point]]:
    """Return who may get copies, in the order in which they are tried."""
    bases = [{p.number: p} for p in (archive.serial.points() or archive.front.points())[:BASES]]
    with_copies = {n: p for n, p in archive.pool.items() if archive.candidates[n].arch.copies}
    if not settings.rules.repair or not bases:
        return bases
    return [bases[0] | with_copies, *bases[1:]]


def _draw(
    parent: int, chance: np.random.Generator, *, archive: Archive, settings: SearchSettings, cost: CostOf
) -> Drawn | None:
    """Draw a net with other copies than `parent` that is new and within the budget."""
    arch = archive.candidates[parent].arch
    space = msgspec.structs.replace(settings.space, stem=arch.stem)
    for attempt in range(TRIES):
        child, moves = arch, list[Move]()
        # one at a time, but several where all nets with one copy more were tried
        most = 1 + attempt * MOST_COPIES_A_CHILD // TRIES if settings.rules.repair else MOST_COPIES_A_CHILD
        wanted = int(chance.integers(1, most + 1))
        for _ in range(wanted):
            move = _draw_copy(child, chance, cost, removing=settings.rules.repair)
            if move is None:
                break
            child, moves = apply(child, move), [*moves, move]
        if why_not(child, space) is not None:
            continue  # nets outside of the space are never priced: a latency table knows no others
        while settings.rules.repair and settings.budget.exceeded(cost(child)) and len(moves) <= MOST_REPAIRS:
            step = draw_step(child, chance, space=space, budget=settings.budget, cost=cost, kinds=SHRINKING)
            if step is None:
                break
            child, moves = step.child, [*moves, step.move]
        if not settings.budget.exceeded(cost(child)) and child.copies and child.id not in archive.known:
            return child, tuple(moves)
    return None


def _draw_copy(arch: Arch, chance: np.random.Generator, cost: CostOf, *, removing: bool) -> Move | None:
    """Draw a copy to add, with a probability that falls with its cost, or now and then one to take away; None where
    there is neither."""
    gone = list(neighbours(arch, kinds=("remove-copy",)))
    added = list(neighbours(arch, kinds=("add-copy",)))
    if removing and gone and (chance.random() < REMOVING or not added):
        return gone[int(chance.integers(len(gone)))]
    if not added:
        return None
    before = cost(arch).gmacs
    weights = np.array([1 / max(cost(apply(arch, move)).gmacs - before, 1e-12) for move in added])
    return added[int(chance.choice(len(added), p=weights / weights.sum()))]
