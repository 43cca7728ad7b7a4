"""What is left of a search, training by training, and how long its workers will take over it.

A search is laid out in time as its workers would do it: the root alone, then as many at once as there are workers,
but never more than the lag lets, and nothing of a phase before all of the one before it.
"""

import heapq
import math
from collections.abc import Callable, Container, Sequence

import msgspec

from spnas.search.archive import Archive
from spnas.search.phases import reignite
from spnas.search.rules import Rules
from spnas.search.settings import NOISE_CONTROLS, Plan, SearchSettings
from spnas.search.tempo import Training

SPREAD = (1.0, 1.1, 0.9)  # no two trainings take the same time, and the later ones wait for the slower
BELIEF = 6.0  # children that a habit is believed by beforehand
BAND = 0.92  # of the budget: what children use of it where moves are mended


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan does not settle, because it hangs on what is learned.

    controls: per child, besides the root's own. promising: share of children that are gone on with.
    ignitions: how often a search is stuck. nets: how many go into the finals, the rival not counted.
    weight, best_weight: GMACs of a child's backbone, and of the finalist's, in units of the root's.
    """

    controls: float = 0.125
    promising: float = 0.75
    ignitions: int = 1
    nets: float | None = None
    weight: float = 1.5
    best_weight: float | None = None


def habits_of(archive: Archive, settings: SearchSettings) -> Habits:
    """Return the habits of a search, by what it did so far."""
    usual = Habits()
    roots = NOISE_CONTROLS if settings.rules.noise else 1
    controls = sum(len(archive.of_role("control", phase)) for phase in ("serial", "parallel"))
    children = [n for phase in ("serial", "parallel") for n in archive.of_role("child", phase)]
    judged = sum(archive.candidates[n].until is not None and n in archive.outcomes for n in children)
    rungs = sum(len(archive.of_role("rung", phase)) for phase in ("serial", "parallel")) + len(archive.promising)
    weights = [w for n in children if (w := _weight(archive, n)) is not None]
    root = archive.outcomes[0].gmacs if 0 in archive.outcomes else 0.0
    expected = usual_weight(settings, root)
    best = archive.front.points()[0].number if len(archive.front) else None
    return Habits(
        controls=(max(0, controls - roots) + BELIEF * usual.controls) / (max(0, len(children) - 1) + BELIEF),
        promising=min(1.0, (rungs + BELIEF * usual.promising) / (judged + BELIEF)),
        ignitions=0,
        weight=(sum(weights) + expected) / (len(weights) + 1),
        best_weight=_weight(archive, best) if best is not None and weights else None,
    )


def usual_weight(settings: SearchSettings, root_gmacs: float) -> float:
    """Return what a child's backbone costs in units of the root's: mended moves use the budget, free ones half of what
    is above the root."""
    if not settings.budget.gmacs or root_gmacs <= 0:
        return Habits().weight
    full = BAND * settings.budget.gmacs / root_gmacs
    return full if settings.rules.repair else (1 + full) / 2


def _nets(archive: Archive, settings: SearchSettings) -> float:
    """Return how many nets there will be in the finals, as things stand: what was found may be the one with copies, or
    the serial net beside it."""
    if archive.finalists is not None:
        return len(archive.finalists.nets)
    usual = usual_nets(settings.plan, settings.rules, settings.phases)
    if usual == 1:
        return usual
    best = max(archive.fitness, key=lambda n: (archive.fitness[n], -n), default=None)
    with_copies = any(archive.candidates[n].arch.copies for n in archive.fitness)
    if best is None or not with_copies:
        return usual
    return 2 if archive.candidates[best].arch.copies else usual


def usual_nets(plan: Plan, rules: Rules, names: tuple[str, ...]) -> float:
    """Return how many nets there are in the finals on the average: what was found may be the best one with copies."""
    return min(plan.finalists, 2.5) if rules.twin and "parallel" in names else 1


def _weight(archive: Archive, number: int) -> float | None:
    root, own = archive.outcomes.get(0), archive.outcomes.get(number)
    known = root is not None and own is not None and root.gmacs > 0 and own.gmacs > 0
    return own.gmacs / root.gmacs if known and own and root else None


def whole(plan: Plan, rules: Rules, names: tuple[str, ...], habits: Habits) -> list[list[Training]]:
    """Return all trainings of a search that has not begun, phase by phase."""
    phases = []
    for number, phase in enumerate(names):
        if phase == "final":
            nets = habits.nets if habits.nets is not None else usual_nets(plan, rules, names)
            phases.append(_finals(plan, habits, nets=nets, done=0))
            continue
        stream = [Training("root", plan.root_steps)] if number == 0 else []
        if phase == "reignite" and "serial" not in names:
            stream = [Training("ignition", plan.ignite_steps), Training("root", plan.root_steps)]
        elif phase in ("serial", "parallel"):
            ignitions = habits.ignitions if phase == "serial" and "reignite" in names else 0
            children = plan.copies if phase == "parallel" else plan.candidates - ignitions * plan.ignition_charge
            controls = _root_controls(rules) if phase == names[0] else 0
            stream += _search(plan, rules, habits, children=children, controls=controls, ignitions=ignitions)
        phases.append(stream)
    return phases


def left(archive: Archive, settings: SearchSettings, over: Container[str]) -> list[list[Training]]:
    """Return what is still to be proposed, phase by phase; `over` are phases that came to their end."""
    plan, habits = settings.plan, habits_of(archive, settings)
    phases = []
    for number, phase in enumerate(settings.phases):
        if phase in over:
            continue
        if phase == "final":
            finals = len(archive.of_role("final", "final")) + len(archive.of_role("rival", "final"))
            phases.append(_finals(plan, habits, nets=_nets(archive, settings), done=finals))
            continue
        stream = [] if archive.candidates or number else [Training("root", plan.root_steps)]
        if phase in ("serial", "parallel"):
            charge = reignite.charge(archive, settings) if phase == "serial" else 0
            wanted = (plan.candidates if phase == "serial" else plan.copies) - charge
            made = archive.of_role("child", phase)
            waiting = len(archive.promising) + habits.promising * sum(n not in archive.outcomes for n in made)
            had = sum(len(archive.of_role("control", p)) for p in ("serial", "parallel"))
            stream += _search(
                plan,
                settings.rules,
                habits,
                children=max(0, wanted - len(made)),
                controls=max(0, _root_controls(settings.rules) - had) if number == 0 else 0,
                rungs=round(waiting),
            )
        elif phase == "reignite" and "serial" not in settings.phases and not archive.of_role("reignite", "reignite"):
            stream = [Training("ignition", plan.ignite_steps), Training("root", plan.root_steps)]
        phases.append(stream)
    return phases


def _root_controls(rules: Rules) -> int:
    return 0 if not rules.controls else NOISE_CONTROLS if rules.noise else 1


def _search(
    plan: Plan, rules: Rules, habits: Habits, *, children: int, controls: int, rungs: int = 0, ignitions: int = 0
) -> list[Training]:
    """Return children with their controls and rungs, in an order that they may come in."""
    early = rules.rungs and rules.controls
    child = Training("search", plan.rung_steps if early else plan.child_steps, weight=habits.weight)
    control = Training("search", plan.child_steps, looks=1 + early, weight=habits.weight)
    rung = Training("search", plan.child_steps - plan.rung_steps, weight=habits.weight)
    stream = [control._replace(weight=1.0)] * controls + [rung] * (rungs if early else 0)
    owed_controls, owed_rungs = 0.0, 0.0
    stuck_at = [round(children * (i + 1) / (ignitions + 1)) for i in range(ignitions)]
    for number in range(max(0, children)):
        stream += [t for at in stuck_at if at == number for t in _relit(plan, habits)]
        owed_controls += habits.controls if rules.controls else 0.0
        owed_rungs += habits.promising if early else 0.0
        if owed_controls >= 1:
            stream.append(control)
            owed_controls -= 1
        stream.append(child)
        if owed_rungs >= 1:
            stream.append(rung)
            owed_rungs -= 1
    return stream


def _relit(plan: Plan, habits: Habits) -> list[Training]:
    return [
        Training("ignition", plan.ignite_steps, weight=habits.weight),
        Training("search", plan.root_steps, weight=habits.weight),
    ]


def _finals(plan: Plan, habits: Habits, *, nets: float, done: int) -> list[Training]:
    most = math.ceil(nets)
    missing = max(0, (most + 1) * plan.seeds - done)
    # who is the best may change yet
    weight = habits.weight if habits.best_weight is None else (habits.weight + habits.best_weight) / 2
    return [Training("final", plan.final_steps, weight=weight, share=(nets + 1) / (most + 1))] * missing


def lay_out(
    phases: Sequence[Sequence[Training]],
    *,
    seconds: Callable[[Training, bool], float],
    workers: int,
    lag: int,
    running: Sequence[float] = (),
) -> list[float]:
    """Return when each phase ends, in seconds from now, with `workers` of which some are `running` for so long yet.

    seconds: of a training, and whether it is alone.
    """
    free = sorted(running)
    free += [0.0] * max(0, workers - len(free))
    heapq.heapify(free)
    ends, latest = list[float](), 0.0  # ends[n]: when all up to the nth are done
    for end in running:
        latest = max(latest, end)
        ends.append(latest)
    begin, found = (latest, []) if running and not phases else (0.0, list[float]())
    for stream in phases:
        for training in stream:
            gate = ends[len(ends) - lag] if len(ends) >= lag else 0.0
            alone = training.kind == "root" or min(workers, lag, len(stream)) == 1
            start = max(heapq.heappop(free), gate, begin)
            end = start + seconds(training, alone) * (1.0 if alone else SPREAD[len(ends) % len(SPREAD)])
            heapq.heappush(free, end)
            latest = max(latest, end)
            ends.append(latest)
            if training.kind == "root":
                begin = latest
        begin = latest
        found.append(latest)
    return found
