"""`spnas estimate`: hours, memory and disk that a search would take, from a minute's measurement on this machine."""

import math
import os
import resource
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from spnas.arch import Arch, Move
from spnas.assess import input_size
from spnas.config import (
    StudySettings,
    Wishes,
)
from spnas.data.batches import Pictures
from spnas.data.choice import DataChoice
from spnas.data.records import DataSet
from spnas.rng import rng
from spnas.search.budget import CostOf
from spnas.search.forecast import Habits, lay_out, usual_weight, whole
from spnas.search.phases.reignite import MOST
from spnas.search.settings import Plan, SearchSettings
from spnas.search.solver import draw_child
from spnas.search.tempo import Tempo, Training
from spnas.talk import Talk, duration
from spnas.tasks.compose import settings_for
from spnas.tasks.finals import cost_for
from spnas.tasks.measure import Measured, Told, measured
from spnas.tasks.phases import crew_of
from spnas.worker import materials_for

KEPT_MIB = 1024.0  # of pictures that a worker keeps, for each set that it reads
LEAST_ERROR = 0.07  # of a measured pace: machines are not the same from hour to hour
MEMORY_ERROR = 0.15
MOST_MOVES = 40
OTHER_FILES_MIB = 3.0  # ledger and report
CHECKPOINT_COPIES = {"adamw": 4, "sgd": 3}  # weights, their average, and what the optimizer keeps


class Range(msgspec.Struct, frozen=True):
    """What is expected, and between what it lies."""

    low: float
    expected: float
    high: float


class PhaseEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """A phase: trainings and steps that are expected, how long it takes, and what it adds on the disk."""

    name: str
    trainings: int
    steps: int
    hours: Range
    memory_mib: Range
    disk_mib: Range


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a search would take.

    memory_mib: of all processes together at the worst moment. worker_hours: of all workers together, hours in which
    they wait not counted; processor_hours: of these, what a core that does nothing else would take, without starting
    processes and opening data. assumptions: what was taken for granted, in words.
    """

    plan: Plan
    phases: tuple[PhaseEstimate, ...]
    hours: Range
    worker_hours: float
    processor_hours: float
    memory_mib: Range
    disk_mib: Range
    workers: int
    cores: int
    root: str
    larger: str
    step_seconds: float
    slow_down: float
    measured: Measured
    measuring_seconds: float
    assumptions: tuple[str, ...]


def estimate(
    data: str | Path | DataChoice | None = None,
    *,
    workers: int | None = None,
    talk: Talk | None = None,
    wishes: Wishes = Wishes(),  # noqa: B008  # frozen
    **options: Any,
) -> Estimate:
    """Estimate what `search` with the same options would take.

    options: budget, preset, without, phases, objective, against, root, start, reignite_data, image_size, recipe,
      detector, batch_size, seed, lag, as `search` has them.
    Raises: UsageError, DataError, as `search` does.
    """
    began, talk = time.monotonic(), talk or Talk(quiet=True)
    crew = crew_of(workers=workers)
    settings, opened = settings_for(data, workers=crew.workers, talk=talk, wishes=wishes, **options)
    search, cores = settings.search, os.cpu_count() or 1
    size = input_size(opened.train, settings.recipe.resize)
    larger, weight = _larger(search, cost_for(settings, size))
    opening = time.monotonic() - began
    at_once = min(crew.workers, search.lag, 1 if settings.recipe.device == "cuda" else cores)
    talk.say(f"measuring with {at_once} process{'es' if at_once > 1 else ''}, a minute or so")
    found = measured(settings, larger, weight=weight, processes=at_once, classify="reignite" in search.phases)
    return _estimate(
        settings,
        opened,
        found,
        larger=larger[0],
        workers=crew.workers,
        cores=cores,
        opening=opening,
        seconds=time.monotonic() - began,
    )


def _larger(search: SearchSettings, cost: CostOf) -> tuple[tuple[Arch, tuple[Move, ...]], float]:
    """Draw a net at the upper end of the budget, and say how it is made from the root and what it costs."""
    drawn = draw_child(
        search.root,
        rng(search.seed, "estimate", 0),
        space=search.space,
        budget=search.budget,
        cost=cost,
        known={search.root.id},
        most_moves=MOST_MOVES,
    )
    grown, moves = drawn if drawn is not None else (search.root, ())
    return (grown, moves), cost(grown).gmacs / cost(search.root).gmacs


def tempo_of(found: Measured, settings: StudySettings, opened: DataSet) -> Tempo:
    """Put a measurement into seconds per training."""
    materials = materials_for(opened, settings)
    step = found.alone.step
    crowded = max(1.0, statistics.fmean(t.step for t in found.roots) / step) if found.processes > 1 else 1.0
    larger = statistics.fmean(t.step for t in found.larger) / crowded / step
    growth = min(1.0, max(0.0, (larger - 1) / (found.weight - 1))) if found.weight > 1.05 else 0.6
    look = statistics.fmean([found.alone.look, *(t.look / crowded for t in found.larger)])
    lit = found.classifier
    return Tempo(
        step=step,
        crowded=crowded,
        growth=growth,
        begin=statistics.fmean([found.alone.begin, *(t.begin for t in found.larger)]),
        look=look * len(materials.search_val),
        final_look=look * len(materials.val),
        ignition_step=lit.step if lit else None,
        ignition_look=lit.look if lit else 0.0,
    )


def error_of(found: Measured) -> float:
    """Return the relative error of the measured paces: how far the halves of them and the processes lie apart."""
    apart = [LEAST_ERROR]
    for group in ((found.alone,), found.roots, found.larger):
        means = [statistics.fmean(half) for told in group for half in _halves(told) if half]
        middle = statistics.fmean(means)
        apart.append((max(means) - min(means)) / 2 / middle)
    return math.sqrt(statistics.fmean(value * value for value in apart)) + LEAST_ERROR / 2


def _busy(found: Measured) -> float:
    """Return the share of their time in which the trainings had a core, by the time that they took."""
    told = (found.alone, *found.roots, *found.larger)
    return sum(t.busy * sum(t.steps) for t in told) / sum(sum(t.steps) for t in told)


def _halves(told: Told) -> tuple[tuple[float, ...], tuple[float, ...]]:
    middle = len(told.steps) // 2
    return told.steps[:middle], told.steps[middle:]


def _cases(search: SearchSettings, weight: float) -> tuple[Habits, Habits, Habits]:
    """Return what a search may do: little, what is usual, much."""
    most = 0
    if "reignite" in search.phases and "serial" in search.phases:
        room = search.plan.candidates - search.plan.stuck
        most = min(MOST, max(0, room // max(1, search.plan.ignition_charge)))
    parallel = search.rules.twin and "parallel" in search.phases
    usual = Habits(weight=weight, ignitions=min(1, most))
    little = Habits(controls=0.05, promising=0.5, nets=2 if parallel else 1, weight=0.95 * weight, ignitions=0)
    much = Habits(controls=0.2, promising=1.0, nets=3 if parallel else 1, weight=weight, ignitions=most)
    return little, usual, much


def _estimate(
    settings: StudySettings,
    opened: DataSet,
    found: Measured,
    *,
    larger: Arch,
    workers: int,
    cores: int,
    opening: float,
    seconds: float,
) -> Estimate:
    search = settings.search
    tempo, error = tempo_of(found, settings, opened), error_of(found)
    cases = _cases(
        search, min(found.weight, usual_weight(search, 1.0) if search.budget.gmacs is None else found.weight)
    )
    reading = _reading(found, settings, opened, workers=workers)
    hours_of = partial(_hours, search, tempo, workers=workers, reading=reading, opening=opening, startup=found.startup)
    laid = [hours_of(habits, scale=scale) for habits, scale in zip(cases, (1 - error, 1.0, 1 + error), strict=True)]
    usual = whole(search.plan, search.rules, search.phases, cases[1])
    memory = _memory(found, settings, opened, workers=workers)
    disk = [_disk(search, habits, found, settings) for habits in cases]
    phases = tuple(
        PhaseEstimate(
            name=name,
            trainings=len(stream),
            steps=round(sum(t.steps * t.share for t in stream)),
            hours=_range([hours[place] for hours in laid]),
            memory_mib=memory[place],
            disk_mib=_range([sizes[place] for sizes in disk]),
        )
        for place, (name, stream) in enumerate(zip(search.phases, usual, strict=True))
    )
    work = sum(tempo.seconds(t, alone=workers == 1 or t.kind == "root") for stream in usual for t in stream)
    return Estimate(
        plan=search.plan,
        phases=phases,
        hours=_range([sum(hours) for hours in laid]),
        worker_hours=round(work / 3600, 4),
        processor_hours=round(_busy(found) * work / 3600, 4),
        memory_mib=max(memory, key=lambda r: r.expected),
        disk_mib=_range([sum(sizes) + OTHER_FILES_MIB + found.alone.model_mib for sizes in disk]),
        workers=workers,
        cores=cores,
        root=search.root.text,
        larger=larger.text,
        step_seconds=tempo.step,
        slow_down=round(tempo.crowded, 3),
        measured=found,
        measuring_seconds=seconds,
        assumptions=_assumptions(settings, found, workers=workers, cores=cores),
    )


def _hours(
    search: SearchSettings,
    tempo: Tempo,
    habits: Habits,
    *,
    scale: float,
    workers: int,
    reading: dict[str, float],
    opening: float,
    startup: float,
) -> list[float]:
    """Return the hours of every phase; the first one has the start of everything in it."""

    def seconds(training: Training, alone: bool) -> float:
        return scale * tempo.seconds(training, alone=alone)

    ends = lay_out(
        whole(search.plan, search.rules, search.phases, habits), seconds=seconds, workers=workers, lag=search.lag
    )
    begins = [0.0, *ends[:-1]]
    hours = []
    for place, (name, begin, end) in enumerate(zip(search.phases, begins, ends, strict=True)):
        extra = reading.get("final" if name == "final" else "search", 0.0) if name == "final" or not place else 0.0
        first = opening + startup * (2 if workers > 1 else 1) if not place else 0.0
        hours.append((end - begin + scale * extra + first) / 3600)
    return hours


def _reading(found: Measured, settings: StudySettings, opened: DataSet, *, workers: int) -> dict[str, float]:
    """Return the seconds in which workers read pictures for the first time, in the search and in its finals."""
    materials = materials_for(opened, settings)
    seconds = max(told.read for told in (found.alone, *found.roots))
    searched = len(materials.train) + len(materials.search_val)
    return {
        "search": seconds * searched * (2 if workers > 1 else 1),  # the root's worker, then the others at once
        "final": seconds * (len(materials.whole_train) + len(materials.val)),
    }


def _memory(found: Measured, settings: StudySettings, opened: DataSet, *, workers: int) -> list[Range]:
    """Return MiB of all processes in every phase: what a child held, the pictures it will keep, and this process."""
    materials = materials_for(opened, settings)
    picture = found.alone.picture_mib

    def kept(*sets: Pictures) -> float:
        return sum(min(KEPT_MIB, picture * len(pictures)) for pictures in sets)

    searching = kept(materials.train, materials.search_val)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bare = max(told.peak_mib - told.kept_mib for told in (*found.roots, *found.larger))
    ranges = []
    for name in settings.search.phases:
        pictures = searching + (kept(materials.whole_train, materials.val) if name == "final" else 0.0)
        total = own + workers * (bare + pictures)
        ranges.append(Range(round((1 - MEMORY_ERROR) * total), round(total), round((1 + MEMORY_ERROR) * total)))
    return ranges


def _disk(search: SearchSettings, habits: Habits, found: Measured, settings: StudySettings) -> list[float]:
    """Return MiB that every phase leaves: weights of what was trained whole, checkpoints of what was stopped early."""
    model = statistics.fmean(told.model_mib for told in found.larger)
    checkpoint = CHECKPOINT_COPIES[settings.recipe.train_settings.optimizer] * model
    early = search.rules.rungs and search.rules.controls
    sizes = []
    for name, stream in zip(search.phases, whole(search.plan, search.rules, search.phases, habits), strict=True):
        if name == "final":
            sizes.append(len(stream) * model)
            continue
        stopped = sum(t.steps == search.plan.rung_steps for t in stream if t.kind == "search") if early else 0
        gone_on = sum(t.steps == search.plan.child_steps - search.plan.rung_steps for t in stream) if early else 0
        whole_ones = len(stream) - stopped
        sizes.append(whole_ones * model + max(0, stopped - gone_on) * checkpoint)
    return sizes


def _range(values: list[float]) -> Range:
    expected = values[1]  # of the usual case; the others need not be less or more in every phase
    return Range(*(round(value, 4) for value in (min(values), expected, max(values))))


def _assumptions(settings: StudySettings, found: Measured, *, workers: int, cores: int) -> tuple[str, ...]:
    search, said = settings.search, list[str]()
    if workers > found.processes:
        said.append(
            f"{found.processes} processes were measured side by side; each of {workers} workers is taken to be as fast "
            f"as one of them" + (f", on more machines like this one of {cores} cores" if workers > cores else "")
        )
    if workers > search.lag:
        said.append(f"no more than {search.lag} train at once (--lag): the other workers wait")
    if search.budget.gmacs is None:
        said.append("the budget is not in GMACs: time is taken to grow as it did from the root to the larger net")
    said.append("controls, rungs, re-ignitions and nets in the finals hang on what is found: the range allows for them")
    said.append("nothing else runs on the machine then, or as much as did during the measurement")
    return tuple(said)


def describe(found: Estimate) -> list[str]:
    """Return a table for a person, and what was taken for granted."""
    plan = found.plan
    lines = [
        f"plan: root {plan.root_steps} steps, {plan.candidates} candidates of {plan.child_steps}, "
        f"{plan.copies} with copies, finals of {plan.final_steps} over {plan.seeds} seeds; {found.workers} workers",
        "",
        f"{'':10} {'trainings':>9} {'steps':>8}   {'time':24} {'memory':>22}   disk",
    ]
    rows = [(p.name, str(p.trainings), str(p.steps), p.hours, p.memory_mib, p.disk_mib) for p in found.phases]
    total = (sum(p.trainings for p in found.phases), sum(p.steps for p in found.phases))
    rows.append(("in all", str(total[0]), str(total[1]), found.hours, found.memory_mib, found.disk_mib))
    for name, trainings, steps, hours, memory, disk in rows:
        lines.append(f"{name:10} {trainings:>9} {steps:>8}   {_time(hours):24} {_mib(memory):>22}   {_mib(disk)}")
    measured_words = f"a step of the root takes {found.step_seconds:.3g} s alone"
    if found.measured.processes > 1:
        measured_words += f", {found.slow_down:.2f} times that with {found.measured.processes} at once"
    return [
        *lines,
        "",
        f"{measured_words}; measured in {duration(found.measuring_seconds)}",
        *(f"assumed: {line}" for line in found.assumptions),
    ]


def _time(hours: Range) -> str:
    return f"{duration(3600 * hours.expected)} ({duration(3600 * hours.low)} - {duration(3600 * hours.high)})"


def _mib(value: Range) -> str:
    def written(mib: float) -> str:
        return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"

    return f"{written(value.expected)} ({written(value.low)} - {written(value.high)})"
