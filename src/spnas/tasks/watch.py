"""`spnas watch`: where a study stands, from its files alone, while it runs, after it was stopped or is finished."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from spnas.errors import UsageError
from spnas.runs.folder import RunFolder
from spnas.runs.held import Held
from spnas.search.phases import reignite
from spnas.tasks.follow import Follower
from spnas.tasks.progress import NETS, line_of, name_of

NEWEST = 12  # outcomes, failures and points of the chart that a record holds at most
POINTS = 120
SECONDS_BETWEEN_LOOKS = 0.5

State = Literal["waiting", "running", "stopped", "finished"]


class Under(msgspec.Struct, frozen=True, kw_only=True):
    """A training under way; `step` is None while it begins, `steps` those it takes in all."""

    number: int
    name: str
    arch: str
    step: int | None
    steps: int


class PhaseState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a phase is: outcomes of its nets, of as many as planned; controls and rungs are not counted."""

    name: str
    done: int
    planned: int
    over: bool


class FrontNet(msgspec.Struct, frozen=True, kw_only=True):
    """A net on the front: the metric that is looked for, its fitness (see `Archive`), its cost as `cost_unit` says."""

    number: int
    value: float
    fitness: float
    cost: float
    arch: str


class FinalNet(msgspec.Struct, frozen=True, kw_only=True):
    """A net of the finals, and its values over the seeds that are done."""

    name: str
    arch: str
    values: tuple[float, ...]
    planned: int


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A study at one moment.

    unfinished: trainings without an outcome. volumes: hypervolume over the nets of the search, thinned out. outcomes,
    failures: the newest, in words. ignitions: re-ignitions, with their errors of classes. seconds_left: None where it
    is not known, or nobody works.
    """

    folder: str
    state: State
    writer: str | None
    metric: str
    cost_unit: str
    preset: str
    seconds: float
    seconds_left: float | None
    phases: tuple[PhaseState, ...]
    running: tuple[Under, ...]
    unfinished: int
    candidates: int
    outcomes: tuple[str, ...]
    failed: int
    failures: tuple[str, ...]
    front: tuple[FrontNet, ...]
    hypervolume: float
    volumes: tuple[float, ...]
    ignitions: tuple[str, ...]
    with_copies: int
    best_with_copies: FrontNet | None
    finals: tuple[FinalNet, ...]
    verdict: str | None
    copies_verdict: str | None


def watch(
    run: str | Path,
    *,
    show: Callable[[Watched], None] | None = None,
    seconds_between_looks: float = SECONDS_BETWEEN_LOOKS,
) -> Watched:
    """Look at the study in `run`; with `show`, show it again and again until it is finished or interrupted.

    Nothing is written and no lock is taken. Raises: UsageError when there is no search; IntegrityError when damaged.
    """
    if not Path(run).is_dir():
        raise UsageError(f"{run}: no such folder; name a folder that 'spnas search' wrote")
    follower = Follower(RunFolder(run), cores=os.cpu_count() or 1)
    while True:
        follower.refresh()
        seen = watched(follower)
        if show is None:
            return seen
        show(seen)
        if seen.state == "finished":
            return seen
        time.sleep(seconds_between_looks)


def watched(follower: Follower) -> Watched:
    """Return what is to be seen of a study now."""
    search, archive, lock = follower.settings.search, follower.archive, follower.lock()
    signs = follower.running(lock)
    finals = _finals(follower)
    state = _state(follower, finals, lock, signs)
    names = follower.unfinished() if state == "running" and lock.held else sorted(signs)
    seconds = follower.seconds(lock)
    running = {number: signs.get(number, 0) for number in names}
    with_copies = [n for n in archive.fitness if archive.candidates[n].arch.copies]
    best = max(with_copies, key=lambda n: (archive.fitness[n], -n), default=None)
    step = max(1, -(-len(follower.volumes) // POINTS))
    return Watched(
        folder=str(follower.folder.root),
        state=state,
        writer=f"process {lock.owner.pid} on {lock.owner.host}" if lock.owner and state == "running" else None,
        metric=search.objective.metric,
        cost_unit=follower.against,
        preset=search.preset,
        seconds=seconds,
        seconds_left=follower.seconds_left(running, seconds) if state == "running" else None,
        phases=_phases(follower, finals),
        running=tuple(_under(follower, number, signs.get(number)) for number in names) if state == "running" else (),
        unfinished=len(follower.unfinished()),
        candidates=len(archive.of_role("child", "serial")) + len(archive.of_role("child", "parallel")),
        outcomes=tuple(_line(follower, n) for n in follower.learned[-NEWEST:]),
        failed=len(follower.failed),
        failures=tuple(_line(follower, n) for n in follower.failed[-NEWEST:]),
        front=tuple(_net(follower, point.number) for point in archive.front.points()),
        hypervolume=archive.front.hypervolume,
        volumes=tuple(follower.volumes[::step]) + tuple(follower.volumes[-1:]),
        ignitions=tuple(_line(follower, n) for n in archive.of_role("reignite", "reignite") if n in follower.outcomes),
        with_copies=len(with_copies),
        best_with_copies=None if best is None else _net(follower, best),
        finals=finals,
        verdict=follower.verdict.sentence if follower.verdict else None,
        copies_verdict=follower.copies_verdict.sentence if follower.copies_verdict else None,
    )


def _state(follower: Follower, finals: tuple[FinalNet, ...], lock: Held, signs: dict[int, int]) -> State:
    search = follower.settings.search
    done = all(phase in follower.over for phase in search.phases if phase != "final") and not follower.unfinished()
    if done and "final" in search.phases:
        finalists = len([c for c in follower.candidates if c.phase == "final"])
        done = bool(finals) and finalists >= len(finals) * search.plan.seeds
    if done and (follower.verdict is not None or not lock.held):
        return "finished"
    if lock.held or signs:
        return "running"
    return "stopped" if follower.candidates else "waiting"


def _phases(follower: Follower, finals: tuple[FinalNet, ...]) -> tuple[PhaseState, ...]:
    search, archive = follower.settings.search, follower.archive
    plan = search.plan
    found = []
    for phase in search.phases:
        if phase == "final":
            done, planned = sum(len(net.values) for net in finals), sum(net.planned for net in finals)
            planned = planned or (plan.finalists + 1) * plan.seeds
        else:
            role = "reignite" if phase == "reignite" else "child"
            done = sum(n in follower.outcomes for n in archive.of_role(role, phase))
            charge = reignite.charge(archive, search) if phase == "serial" else 0
            planned = {"serial": plan.candidates - charge, "parallel": plan.copies}.get(phase, 0)
        found.append(PhaseState(name=phase, done=done, planned=max(planned, done), over=phase in follower.over))
    return tuple(found)


def _under(follower: Follower, number: int, step: int | None) -> Under:
    candidate = follower.candidates[number]
    return Under(
        number=number,
        name=name_of(candidate, follower.finalists),
        arch=candidate.arch.text,
        step=step,
        steps=candidate.steps_here,
    )


def _line(follower: Follower, number: int) -> str:
    candidate, outcome = follower.candidates[number], follower.outcomes[number]
    metric = follower.settings.search.objective.metric
    name = name_of(candidate, follower.finalists)
    line = line_of(candidate, name, outcome.failure, outcome.metrics, outcome.gmacs, metric)
    gain = follower.archive.gains.get(number)
    return line if gain is None else f"{line} ({gain:+.3f} over training on)"


def _net(follower: Follower, number: int) -> FrontNet:
    archive = follower.archive
    arch = archive.candidates[number].arch
    return FrontNet(
        number=number,
        value=follower.outcomes[number].metrics.get(follower.settings.search.objective.metric, float("nan")),
        fitness=archive.fitness[number],
        cost=archive.price(arch),
        arch=arch.text,
    )


def _finals(follower: Follower) -> tuple[FinalNet, ...]:
    finalists, search = follower.finalists, follower.settings.search
    if finalists is None or "final" not in search.phases:
        return ()
    trained = [c for c in follower.candidates[-(len(finalists.nets) + 1) * search.plan.seeds :] if c.phase == "final"]

    def values(role: str, place: int) -> tuple[float, ...]:
        numbers = [c.number for c in trained if c.role == role and (role == "rival" or c.finalist == place)]
        found = (follower.outcomes[n].metrics.get(search.objective.metric) for n in numbers if n in follower.outcomes)
        return tuple(value for value in found if value is not None)

    nets = [
        FinalNet(name=NETS[net.label], arch=net.arch.text, values=values("final", place), planned=search.plan.seeds)
        for place, net in enumerate(finalists.nets)
    ]
    rival = FinalNet(
        name="ResNet of equal cost",
        arch=finalists.rival.text,
        values=values("rival", 0),
        planned=search.plan.seeds,
    )
    return (*nets, rival)


def mean(values: tuple[float, ...]) -> float:
    """Return the mean of the values that there are."""
    return statistics.fmean(values) if values else float("nan")
