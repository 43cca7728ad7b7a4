"""A whole backbone, main net and copies, filled stage by stage."""

import itertools
from typing import Any, NamedTuple, cast

from torch import nn

from spnas.arch import Arch
from spnas.arch.move import Origins
from spnas.morph.chain import Record, Step, copy_stem, copy_twin, fill_stage
from spnas.morph.link import Link
from spnas.morph.mend import Mend
from spnas.morph.narrow import Kept, narrower
from spnas.morph.neck import End
from spnas.nets.backbone import Backbone


class Run(NamedTuple):
    """One stage of the child's main net (copy 0), or of one of its copies: its blocks, their numbers in the chain, and
    the parent's block each one stands for, None for a new one."""

    copy: int
    blocks: nn.Sequential
    numbers: range
    sources: list[nn.Module | None]


def runs_of(young: Backbone, old: Backbone, origins: Origins) -> list[list[Run]]:
    """Return for every stage of the child's the main net's run, then those of its copies.

    A copy's block stands for that of the parent's copy of the same number, where there was one, else for the main
    net's.
    """
    found: list[list[Run]] = []
    edges = (0, *young.arch.starts, young.arch.block_count)
    for stage, (begin, end) in enumerate(itertools.pairwise(edges)):
        numbers = range(begin, end)
        copies: Any = young.copies[stage].stages if young.copies else []
        parallel: list[Any] = [young.stages[stage], *copies]
        found.append(
            [Run(k, run, numbers, [_source(old, origins[n], k) for n in numbers]) for k, run in enumerate(parallel)]
        )
    return found


def _source(old: Backbone, origin: int | None, copy: int) -> nn.Module | None:
    """Return block `origin` of the parent's main net (copy 0), or of a copy of its stage, where there is one."""
    if origin is None:
        return None
    stage = stage_of(old.arch, origin)
    copies: Any = old.copies[stage].stages if old.copies else []
    if not 1 <= copy <= len(copies):
        return old.blocks()[origin]
    begin = (0, *old.arch.starts)[stage]
    return cast(nn.Module, copies[copy - 1][origin - begin])


def stage_of(arch: Arch, block: int) -> int:
    """Return the stage in which a block lies."""
    return sum(start <= block for start in arch.starts)


def fill_backbone(
    young: Backbone, old: Backbone, origins: Origins, runs: list[list[Run]], kept: list[Kept], record: Record
) -> list[End]:
    """Fill the child's backbone and return how the output of every stage stands for one of the parent's."""
    entry = copy_stem(young.stem, old.stem, record)
    before: list[Link] = []
    ends: list[End] = []
    for stage, (main, *copies) in enumerate(runs):
        after = []
        for k, run in enumerate(copies):
            after.append(fill_stage(run.blocks, _steps(run, kept), before[k] if k < len(before) else entry, record))
        out = fill_stage(main.blocks, _steps(main, kept), entry, record)
        if young.copies:
            fusions = cast(Any, young.copies[stage]).fusions
            links = after or [out] * len(fusions)  # tied copies put out what the main net does
            former = _fusions(old, stage) if _same_ends(origins, old.arch, main.numbers, stage) else []
            for k, (fusion, link) in enumerate(zip(fusions, links, strict=True)):
                if k < len(former):
                    copy_twin(fusion, former[k], entry._replace(reading=None, offset=None), link, record)
                else:
                    nn.init.zeros_(fusion[1].weight)
        entry, before = out, after
        ends.append(End(out, _same_end(origins, old.arch, main.numbers.stop, stage)))
    record.mends.extend(mends_of(young, old, origins, runs))
    return ends


def _steps(run: Run, kept: list[Kept]) -> list[Step]:
    return [Step(source, kept[n]) for n, source in zip(run.numbers, run.sources, strict=True)]


def _fusions(old: Backbone, stage: int) -> Any:
    return cast(Any, old.copies[stage]).fusions if old.copies and stage < len(old.copies) else []


def _same_end(origins: Origins, old: Arch, stop: int, stage: int) -> bool:
    """Whether the child's block before number `stop` puts out what the parent's stage does (its last one, beyond)."""
    last = next((o for o in reversed(origins[:stop]) if o is not None), None)
    ends = [start - 1 for start in (*old.starts, old.block_count)]
    return last == ends[min(stage, len(ends) - 1)]


def _same_ends(origins: Origins, old: Arch, numbers: range, stage: int) -> bool:
    """Whether a stage of the child's begins and ends where the parent's does, so that fusions still fit."""
    begins = stage == 0 or _same_end(origins, old, numbers.start, stage - 1)
    return begins and _same_end(origins, old, numbers.stop, stage)


def mends_of(young: Backbone, old: Backbone, origins: Origins, runs: list[list[Run]]) -> list[Mend]:
    """Return the blocks that may need mending: their place has changed, or their input comes from elsewhere.

    A block after which others were removed is to put out what the last of those did, where shapes allow.
    """
    found: list[Mend] = []
    for stage, (main, *copies) in enumerate(runs):
        rewired = _copies(young, stage) != _copies(old, stage) or _copies(young, stage - 1) != _copies(old, stage - 1)
        for run in (main, *copies):
            for number, block, source in zip(run.numbers, run.blocks, run.sources, strict=True):
                origin = origins[number]
                if origin is None or source is None:
                    continue
                before = next((o for o in reversed(origins[:number]) if o is not None), -1)
                after = next((o for o in origins[number + 1 :] if o is not None), old.arch.block_count)
                moved = stage_of(old.arch, origin) != stage or block.stride != source.stride
                changed = moved or before != origin - 1 or after != origin + 1 or bool(narrower(block, source))
                if changed or (rewired and number == run.numbers.start):
                    found.append(Mend(block, source, _target(old, origin, after - 1, run.copy) or source))
    return found


def _copies(net: Backbone, stage: int) -> int:
    return net.arch.copies[stage] if net.arch.copies and 0 <= stage < len(net.arch.copies) else 0


def _target(old: Backbone, origin: int, last: int, copy: int) -> nn.Module | None:
    """Return the parent's block `last`, if only identity shortcuts lead there from block `origin`."""
    between = [cast(Any, _source(old, number, copy)) for number in range(origin + 1, last + 1)]
    same_stage = stage_of(old.arch, origin) == stage_of(old.arch, last)
    return between[-1] if between and same_stage and all(b.shortcut is None for b in between) else None
