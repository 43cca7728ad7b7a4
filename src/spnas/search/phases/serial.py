"""The serial phase: children of the front by swap and expand moves, and in between re-ignition when it is stuck.

Source: SP-NAS, serial phase. We differ, each unless its rule is off: a child is compared with its parent continued for
as many steps, moves are mended to use the budget, parents are drawn where the front is thin, and what is not
promising is stopped early.
"""

from functools import partial

import msgspec
import numpy as np

from spnas.arch import Candidate
from spnas.search import released
from spnas.search.archive import Archive
from spnas.search.budget import CostOf
from spnas.search.children import first_root, least_behind, next_child
from spnas.search.draw import Drawn, draw_free, draw_repaired
from spnas.search.phases import reignite
from spnas.search.settings import SearchSettings


def propose(number: int, archive: Archive, settings: SearchSettings, cost: CostOf) -> Candidate | None:
    """Return candidate `number`, None when the phase is over."""
    root = first_root(number, archive, settings, "serial")
    if root is not None:
        return root
    if settings.rules.released:
        return released.propose(number, archive, settings, cost)
    lit = reignite.when_stuck(number, archive, settings, cost)
    if lit is not None:
        return lit
    over = len(archive.of_role("child", "serial")) + reignite.charge(archive, settings) >= settings.plan.candidates
    if over and not archive.promising:
        return least_behind(number, archive, "serial")
    draw = partial(_draw, archive=archive, settings=settings, cost=cost)
    return next_child(number, archive, settings, phase="serial", parents=archive.pool, draw=draw)


def _draw(
    parent: int, chance: np.random.Generator, *, archive: Archive, settings: SearchSettings, cost: CostOf
) -> Drawn | None:
    arch = archive.candidates[parent].arch
    make = draw_repaired if settings.rules.repair else draw_free
    return make(
        arch,
        chance,
        space=msgspec.structs.replace(settings.space, stem=arch.stem),
        budget=settings.budget,
        cost=cost,
        known=archive.known,
        most_moves=settings.most_moves,
    )
