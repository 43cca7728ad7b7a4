"""Milliseconds of a forward pass on the machine at hand, without running every net.

A table of blocks, timed once and kept, is summed over a net; a line through whole nets, timed along with the blocks,
turns the sum into milliseconds. How far the line is off for nets that it was not fitted to is measured too, and a
table that is too far off is refused: a search would follow its errors.
"""

import hashlib
import math
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.arch import Arch, Space
from spnas.errors import UsageError
from spnas.nets.pieces import Piece, Size, Stage, blocks_of, lay_out
from spnas.nets.timing import Place, time_all
from spnas.rng import rng
from spnas.runs.files import write_atomic
from spnas.search.budget import Budget, CostOf
from spnas.search.solver import draw_step

LARGEST_ERROR = 0.10
NETS, LEAST_NETS = 20, 15
ATTEMPTS = 2  # a machine that was busy for a moment gets a second chance
SMALLEST_NET, LARGEST_NET = 0.5, 1.2  # of the budget: the nets the line is fitted to
MOST_STEPS, MIXING_STEPS = 60, 4

Measure = Callable[[Sequence[Piece | Arch], Size, Place], list[float]]


class LatencyTable(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks in milliseconds by their names, and the line from their sum to the milliseconds of a whole net.

    error, worst: mean and largest error of that line, as shares, each net being held out from the fit once.
    """

    place: Place
    size: Size
    pieces: dict[str, float]
    offset: float
    scale: float
    error: float
    worst: float
    nets: int

    def __str__(self) -> str:
        return (
            f"latency table: {len(self.pieces)} blocks on {self.place}; over {self.nets} whole nets, each held out "
            f"once, it is off by {self.error:.1%} on average and by {self.worst:.1%} at most"
        )


def predictor(table: LatencyTable) -> Callable[[Arch], float]:
    """Return the function from a net, made of blocks of the table, to milliseconds.

    It raises ValueError for a net with a block that is not in the table.
    """
    known: dict[Stage, float] = {}

    def milliseconds(arch: Arch) -> float:
        return table.offset + table.scale * _sum(arch, table.size, table.pieces, known)

    return milliseconds


def _sum(arch: Arch, size: Size, pieces: dict[str, float], known: dict[Stage, float]) -> float:
    try:
        layout = lay_out(arch, size)
        total = pieces[layout.stem.text]
        for stage in layout.stages:
            if stage not in known:
                known[stage] = sum(pieces[piece.text] * times for piece, times in blocks_of(stage))
            total += known[stage]
        for stage_number, copies, fusion in layout.copies:
            total += copies * (known[layout.stages[stage_number]] + pieces[fusion.text])
    except KeyError as missing:
        raise ValueError(f"{arch.text!r} has a block that the latency table lacks: {missing}") from None
    return total


def table_for(
    root: Arch, space: Space, size: Size, place: Place, *, milliseconds: float, cost: CostOf, store: Path,
    measure: Measure = time_all,
) -> LatencyTable:  # fmt: skip
    """Return the table for nets of `space` around so many milliseconds, from the file `store` or measured now.

    root: a net in the space, to start from. cost: by its GMACs, nets of the right size are found to fit the line to.

    Raises: UsageError when it is off by more than 10 %, or the space has too few nets of that size.
    """
    around = 2 ** (round(2 * math.log2(milliseconds)) / 2)  # budgets that are nearly alike share a table
    asked = (place, platform.node(), space, size, around)
    key = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()[:16]
    known = _read(store)
    if key not in known:
        known[key] = _measured(root, space, size, place, milliseconds=around, cost=cost, measure=measure)
        store.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(store, msgspec.json.format(msgspec.json.encode(_read(store) | {key: known[key]})))
    return known[key]


def _read(store: Path) -> dict[str, LatencyTable]:
    try:
        return msgspec.json.decode(store.read_bytes(), type=dict[str, LatencyTable])
    except (OSError, msgspec.DecodeError):
        return {}


def _measured(
    root: Arch, space: Space, size: Size, place: Place, *, milliseconds: float, cost: CostOf, measure: Measure
) -> LatencyTable:
    pieces = pieces_of(space, size)
    (root_ms,) = measure([root], size, place)
    gmacs = cost(root).gmacs * milliseconds / root_ms
    nets = sample(root, space, cost, SMALLEST_NET * gmacs, LARGEST_NET * gmacs)
    if len(nets) < LEAST_NETS:
        raise UsageError(
            f"only {len(nets)} nets around {milliseconds:.3g} ms were found, too few to check a latency table with; "
            "give --budget in GMAC, or a --root nearer to the budget"
        )
    best = [float("inf")] * (len(pieces) + len(nets))
    for _ in range(ATTEMPTS):
        times = measure([*pieces, *nets], size, place)
        best = [min(pair) for pair in zip(best, times, strict=True)]
        by_name = {piece.text: ms for piece, ms in zip(pieces, best, strict=False)}
        sums = np.array([_sum(net, size, by_name, {}) for net in nets])
        offset, scale, errors = fit(sums, np.array(best[len(pieces) :]))
        if errors.mean() <= LARGEST_ERROR:
            break
    if not errors.mean() <= LARGEST_ERROR:
        raise UsageError(
            f"latency cannot be told from a table of blocks on {place}: over {len(nets)} whole nets it is off by "
            f"{errors.mean():.0%} on average, more than {LARGEST_ERROR:.0%}; let nothing else run on this machine, "
            "set OMP_NUM_THREADS to fewer threads, or give --budget in GMAC"
        )
    return LatencyTable(
        place=place,
        size=size,
        pieces=by_name,
        offset=offset,
        scale=scale,
        error=float(errors.mean()),
        worst=float(errors.max()),
        nets=len(nets),
    )


def fit(sums: NDArray[np.float64], times: NDArray[np.float64]) -> tuple[float, float, NDArray[np.float64]]:
    """Return offset and scale of the line from sums to times that is least off in shares, and for every net how far
    off, as a share, the line is that is fitted to all others."""
    offset, scale = _line(sums, times)
    errors = []
    for i, (total, milliseconds) in enumerate(zip(sums, times, strict=True)):
        a, b = _line(np.delete(sums, i), np.delete(times, i))
        errors.append(abs((a + b * total) / milliseconds - 1))
    return offset, scale, np.array(errors)


def _line(sums: NDArray[np.float64], times: NDArray[np.float64]) -> tuple[float, float]:
    rows = np.stack([1 / times, sums / times], axis=1)
    offset, scale = np.linalg.lstsq(rows, np.ones(len(times)), rcond=None)[0]
    return float(offset), float(scale)


def pieces_of(space: Space, size: Size) -> list[Piece]:
    """Return every distinct piece that a serial net of `space` can be made of: for every stage and every width with
    which it may begin, a chain in which each wider width comes twice has them all."""
    levels = [space.base_width << i for i in range(space.doublings + 1)]
    chains = [tuple(w for w in levels[i:] for _ in range(2)) for i in range(len(levels))]
    layout = lay_out(Arch(space.block, (chains[0],) * space.max_stages, stem=space.stem), size)
    found: dict[Piece, None] = {layout.stem: None}
    for number, stage in enumerate(layout.stages):
        firsts = [None] if number == 0 else levels
        for before in firsts:
            for chain in chains[:1] if before is None else chains:
                if before is None or chain[0] in (before, 2 * before):
                    found |= dict.fromkeys(p for p, _ in blocks_of(stage._replace(before=before, widths=chain)))
    return list(found)


def sample(root: Arch, space: Space, cost: CostOf, least: float, most: float) -> list[Arch]:
    """Return distinct nets of `space` spread over `least` to `most` GMACs, reached from `root` by random moves."""
    found: dict[Arch, None] = {}
    for number in range(NETS):
        target = least + (number + 0.5) / NETS * (most - least)
        arch, budget, mixed = root, Budget(gmacs=target), 0
        draw = rng(0, "latency", number)
        for _ in range(MOST_STEPS):
            step = draw_step(arch, draw, space=space, budget=budget, cost=cost)
            if step is None or mixed == MIXING_STEPS:
                break
            arch, mixed = step.child, mixed + budget.in_band(cost(step.child))
        if budget.in_band(cost(arch)):
            found[arch] = None
    return list(found)
