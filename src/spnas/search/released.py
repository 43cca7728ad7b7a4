"""The rule of the authors' released code, as a baseline for benchmarks and nothing else.

Source: the 2020 release of SP-NAS in huawei-noah/vega. Its faults are kept, since they are what is to be compared with:
the worse of the five best are favoured, there is no budget, no front and no control, nets are tried twice, doublings
never move. One is not: it never ends on chains too short to be cut; here such a move is left out.
"""

import itertools

import numpy as np

from spnas.arch import Arch, Candidate, Move
from spnas.arch.arch import HARD_LIMIT_BLOCKS, HARD_LIMIT_STAGES
from spnas.arch.move import apply
from spnas.rng import rng
from spnas.search.archive import Archive
from spnas.search.budget import CostOf
from spnas.search.settings import SearchSettings

BEST = 5
MUTATIONS = 3
INSERTS, APPENDS = 0.7, 0.95
COPIES, COPY_SHARES = (0, 1, 2, 3), (0.4, 0.3, 0.2, 0.1)


def propose(number: int, archive: Archive, settings: SearchSettings, cost: CostOf) -> Candidate | None:
    """Return candidate `number`, None when there are as many children as planned."""
    if len(archive.of_role("child", "serial")) >= settings.plan.candidates or not archive.fitness:
        return None
    chance = rng(settings.seed, "propose", number)
    parent = _parent(archive, cost, chance)
    child, moves = archive.candidates[parent].arch, list[Move]()
    for _ in range(MUTATIONS):
        for move in _mutation(child, chance):
            child, moves = apply(child, move), [*moves, move]
    for move in _new_copies(child, chance):
        child, moves = apply(child, move), [*moves, move]
    return Candidate(
        number=number,
        role="child",
        arch=child,
        steps=settings.plan.child_steps,
        seed=settings.seed,
        parent=parent,
        moves=tuple(moves),
    )


def _parent(archive: Archive, cost: CostOf, chance: np.random.Generator) -> int:
    """Draw among the five best by AP; a rank lower in AP, and a place higher in size, weigh more."""
    best = sorted(archive.fitness, key=lambda n: (-archive.fitness[n], n))[:BEST]
    by_size = sorted(best, key=lambda n: cost(archive.candidates[n].arch).params)
    weights = np.array([1.0 + rank + by_size.index(n) for rank, n in enumerate(best)])
    return int(chance.choice(best, p=weights / weights.sum()))


def _mutation(arch: Arch, chance: np.random.Generator) -> list[Move]:
    kind = int(chance.integers(3))
    if kind == 0:
        fires = chance.random() < INSERTS and arch.block_count + 2 <= HARD_LIMIT_BLOCKS
        return [Move("expand-block", int(chance.integers(arch.block_count)), 2)] if fires else []
    if kind == 1:
        return _new_boundaries(arch, chance)
    fires = chance.random() < APPENDS and len(arch.stages) < HARD_LIMIT_STAGES
    return [Move("expand-stage")] if fires and arch.block_count < HARD_LIMIT_BLOCKS else []


def _new_boundaries(arch: Arch, chance: np.random.Generator) -> list[Move]:
    """Move every boundary by a step in [-m, m - 1], m the longer of its two stages, at most 3."""
    edges, moves = [0, *arch.starts, arch.block_count], list[Move]()
    for at in range(1, len(edges) - 1):
        longest = min(3, max(b - a for a, b in itertools.pairwise(edges[at - 1 : at + 2])))
        step = int(chance.integers(-longest, longest))
        if step and edges[at - 1] < edges[at] + step < edges[at + 1]:
            edges[at] += step
            moves.append(Move("swap-boundary", at, step))
    return moves


def _new_copies(arch: Arch, chance: np.random.Generator) -> list[Move]:
    """Draw the copies of every stage anew."""
    wanted = chance.choice(COPIES, len(arch.stages), p=COPY_SHARES).tolist()
    moves = list[Move]()
    for stage, (now, then) in enumerate(zip(arch.copies or (0,) * len(wanted), wanted, strict=True)):
        moves += [Move("add-copy" if then > now else "remove-copy", stage)] * abs(then - now)
    return moves
