"""The time that is left, against searches that are played on a clock of their own."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from tests.search.conftest import PHASES, cost, make, outcome

from spnas.arch import Candidate, Outcome
from spnas.search.archive import Archive, newest_that_counts
from spnas.search.finalists import Finalists, choose
from spnas.search.phases import final
from spnas.search.settings import Plan, SearchSettings
from spnas.tasks.eta import Eta, Seen

TICK = 1.0
PLAN = Plan(
    candidates=24, root_steps=400, child_steps=60, final_steps=400, finalists=3, seeds=2, copies=8, ignite_steps=200
)
STEP, CROWDED, LOOK = 0.1, 1.5, 2.5


class Moment(NamedTuple):
    now: float
    seen: Seen
    phase: str


def truly(candidate: Candidate, settings: SearchSettings, workers: int) -> tuple[float, float]:
    """How long its steps take, and how long it is judged, on the clock of the play: nothing the forecast is told."""
    luck = 0.85 + 0.3 * float(np.random.default_rng(candidate.number).random())
    luck *= CROWDED if workers > 1 and candidate.number else 1.0
    grown = 0.3 + 0.7 * cost(candidate.arch).gmacs / cost(settings.root).gmacs
    begun = settings.plan.rung_steps if candidate.continues is not None else 0
    return luck * (candidate.steps_here - begun) * STEP * grown, luck * (1 + (candidate.look is not None)) * LOOK


def play(settings: SearchSettings, *, workers: int) -> Iterator[Moment]:
    """Play a search as `study.run_phase` runs it, and look at it every half second."""
    archive, candidates = Archive(settings.rules, settings.objective, cost), list[Candidate]()
    outcomes = dict[int, Outcome]()
    counted, over, now = 0, set[str](), 0.0

    def count(known: int) -> bool:
        nonlocal counted
        while counted < min(known, len(candidates)):
            if counted not in outcomes:
                return False
            archive.learn(outcomes[counted])
            counted += 1
        return True

    for phase in settings.phases:
        running: dict[int, tuple[float, float, float]] = {}
        ended = False
        if phase == "final":
            nets = choose(archive, settings, cost)
            archive.finalists = Finalists(nets=nets, rival=nets[0].arch)  # they cost the same
        while True:
            for number in [n for n, (_, _, end) in running.items() if end <= now]:
                candidate = candidates[number]
                parent = outcomes[candidate.parent] if candidate.parent is not None else None
                began, _, end = running.pop(number)
                found = outcome(candidate, parent, noise=0.01)
                outcomes[number] = msgspec.structs.replace(found, seconds=end - began)
            while len(running) < workers and not ended:
                number = len(candidates)
                if not count(newest_that_counts(number, settings.lag) + 1):
                    break
                propose = final.propose if phase == "final" else PHASES[phase].propose
                proposed = propose(number, archive, settings, cost)
                ended = proposed is None
                if proposed is not None:
                    candidates.append(proposed)
                    archive.see(proposed)
                    learning, judging = truly(proposed, settings, workers)
                    running[number] = (now, now + learning, now + learning + judging)
            if not running:
                if counted == len(candidates):
                    break
                count(len(candidates))
                ended = False
                continue
            steps = {n: _step(candidates[n], now, *times, settings) for n, times in running.items()}
            yield Moment(now, Seen(candidates, dict(outcomes), archive, set(over), steps), phase)
            now += TICK
        count(len(candidates))
        if phase != "final":
            over.add(phase)


def _step(candidate: Candidate, now: float, began: float, judged: float, end: float, settings: SearchSettings) -> int:
    """The last sign of life: every tenth step; after the steps comes the judging."""
    del end
    begun = settings.plan.rung_steps if candidate.continues is not None else 0
    share = min(1.0, (now - began) / (judged - began))
    return begun + int(share * (candidate.steps_here - begun)) // 10 * 10


def watched(
    settings: SearchSettings, *, workers: int, told: bool = True
) -> tuple[float, list[tuple[Moment, float | None]]]:
    eta = Eta(settings, workers=workers if told else None, cores=workers)
    moments = [(moment, eta.left(moment.seen, moment.now)) for moment in play(settings, workers=workers)]
    return moments[-1][0].now + TICK, moments


def settings_of(preset: str, phases: tuple[str, ...]) -> SearchSettings:
    plan = PLAN if "parallel" in phases else msgspec.structs.replace(PLAN, copies=0, finalists=1)
    return msgspec.structs.replace(make(preset, phases=phases), plan=plan)


@pytest.mark.parametrize(("workers", "preset"), [(1, "plus"), (2, "plus"), (4, "plus"), (16, "paper"), (2, "paper")])
def test_after_a_quarter_the_end_is_known_to_a_quarter(workers: int, preset: str) -> None:
    """And it stays known from then on, whatever the number of workers."""
    settings = settings_of(preset, ("serial", "parallel", "final"))
    whole, moments = watched(settings, workers=workers)
    later = [(m, left) for m, left in moments if m.now >= whole / 4]
    assert later
    for moment, left in later:
        assert left is not None
        assert abs(moment.now + left - whole) <= 0.25 * whole, (moment.now / whole, (moment.now + left) / whole)


def test_re_ignition_is_foreseen_as_far_as_it_came() -> None:
    """A search that is stuck trains classifiers instead of children."""
    settings = settings_of("plus", ("serial", "reignite", "final"))
    settings = msgspec.structs.replace(settings, plan=msgspec.structs.replace(settings.plan, candidates=60, stuck=2))
    whole, moments = watched(settings, workers=2)
    assert any(c.role == "reignite" for c in moments[-1][0].seen.candidates)
    for moment, left in moments:
        if moment.now >= whole / 2:
            assert left is not None
            assert abs(moment.now + left - whole) <= 0.2 * whole


def test_it_does_not_jump() -> None:
    """From one look to the next the end moves by little, once the root is trained."""
    whole, moments = watched(settings_of("plus", ("serial", "parallel", "final")), workers=2)
    ends = [m.now + left for m, left in moments if left is not None and m.now >= whole / 4]
    assert max(abs(b - a) for a, b in pairwise(ends)) < 0.02 * whole


def test_nothing_is_said_before_anything_is_known_and_the_root_tells_already() -> None:
    """Some 20 steps of the root are enough for a guess by a factor of two."""
    whole, moments = watched(settings_of("plus", ("serial", "parallel", "final")), workers=2)
    assert moments[0][1] is None
    root = [(m, left) for m, left in moments if not m.seen.outcomes and left is not None]
    assert root[0][0].now < 0.05 * whole
    for moment, left in root:
        assert 0.5 < (moment.now + (left or 0.0)) / whole < 2


def test_how_many_work_is_seen_where_it_is_not_told() -> None:
    """As a reader of the files does."""
    whole, moments = watched(settings_of("plus", ("serial", "final")), workers=2, told=False)
    for moment, left in moments:
        if moment.now >= whole / 4:
            assert left is not None
            assert abs(moment.now + left - whole) <= 0.25 * whole, (moment.now / whole, (moment.now + left) / whole)


def test_a_failed_training_teaches_nothing() -> None:
    """It took its time, but no measure of it."""
    settings = settings_of("plus", ("serial",))
    moment = next(m for m in play(settings, workers=1) if len(m.seen.outcomes) == 3)
    failed = {**moment.seen.outcomes, 3: Outcome(number=3, failure="RuntimeError: no", seconds=1e6)}
    plain, with_failure = (
        Eta(settings, workers=1).left(moment.seen._replace(outcomes=outcomes), moment.now)
        for outcomes in (moment.seen.outcomes, failed)
    )
    assert plain == pytest.approx(with_failure)
