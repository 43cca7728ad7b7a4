"""A search on a made-up landscape, without torch: an outcome is a function of the architecture."""

import math
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import NamedTuple

import pytest

from spnas.arch import Arch, Candidate, Outcome, parse
from spnas.arch.space import around
from spnas.rng import rng
from spnas.search.archive import Archive, newest_that_counts
from spnas.search.budget import Budget, Spent
from spnas.search.objective import Objective
from spnas.search.phases import parallel, reignite, serial
from spnas.search.rules import rules_of
from spnas.search.settings import Plan, SearchSettings

ROOT = parse("basic: 16x2 / 32x2 / 64x2 / 128x2")
PLAN = Plan(
    candidates=30, root_steps=100, child_steps=10, final_steps=100, finalists=1, seeds=3, copies=8, ignite_steps=20
)
DRIFT = 0.05  # what mere further training brings
LIT = 0.02  # what a re-ignition brings
PHASES = {"serial": serial, "reignite": reignite, "parallel": parallel}


def cost(arch: Arch) -> Spent:
    """Depth weighs more in wide blocks, and a copy as much as its stage."""
    copies = arch.copies or (0,) * len(arch.stages)
    macs = sum((1 + k) * sum(w * w for w in stage) for k, stage in zip(copies, arch.stages, strict=True))
    return Spent(gmacs=macs / 1e5, params=sum(arch.widths))


def quality(arch: Arch) -> float:
    """Early depth is worth most here, and copies a little."""
    depth = sum(1 / (1 + i) for i, stage in enumerate(arch.stages) for _ in stage)
    return 0.3 + 0.05 * math.log(depth) + 0.004 * sum(arch.copies)


def outcome(candidate: Candidate, parent: Outcome | None, *, fails: bool = False, noise: float = 0.0) -> Outcome:
    """Answer as a worker would: with drift for every training on, and the same luck whenever it is asked."""
    if fails:
        return Outcome(number=candidate.number, failure="RuntimeError: out of memory")
    before = parent.metrics.get("drift", 0.0) if parent else 0.0
    drift = before + (DRIFT if parent else 0.0) + (LIT if candidate.role == "reignite" else 0.0)
    began = candidate.number if candidate.continues is None else candidate.continues
    luck = noise * float(rng(0, "luck", began).standard_normal())
    value = quality(candidate.arch) + luck
    spent = cost(candidate.arch)
    inherited = parent.metrics["ap"] - before if parent else 0.0

    def after(steps: int) -> float:
        return inherited + (value - inherited) * steps / candidate.steps + drift

    return Outcome(
        number=candidate.number,
        metrics=_told(after(candidate.steps_here)) | {"drift": drift},
        early=_told(after(candidate.look)) if candidate.look is not None else {},
        gmacs=spent.gmacs,
        params=spent.params,
        weights=f"weights/{candidate.number}",
        sha256="0",
    )


def _told(ap: float) -> dict[str, float]:
    """Tell an AP in all metrics; what is less for being better lacks as much of its worst value."""
    return {"ap": ap, "lamr": 1 - ap, "loss": 10 - ap}


class Played(NamedTuple):
    """A search that was played to its end."""

    candidates: list[Candidate]
    outcomes: dict[int, Outcome]
    archive: Archive

    def of_role(self, role: str) -> list[Candidate]:
        return [c for c in self.candidates if c.role == role]


Finish = Callable[[list[int]], int]


def run(
    settings: SearchSettings,
    *,
    workers: int = 1,
    finish: Finish = min,
    failing: int = 0,
    fails: Callable[[int], bool] = lambda _n: False,
    noise: float = 0.0,
    drift: bool = True,
) -> Played:
    """Play the phases of a search with `workers`, of which `finish` chooses who is done next; without `drift` further
    training brings nothing."""
    archive = Archive(settings.rules, settings.objective, cost)
    played = Played([], {}, archive)
    counted = 0

    def count(known: int) -> bool:
        nonlocal counted
        while counted < min(known, len(played.candidates)):
            if counted not in played.outcomes:
                return False
            archive.learn(played.outcomes[counted])
            counted += 1
        return True

    for name in settings.phases:
        if name == "final":
            continue
        phase: ModuleType = PHASES[name]
        running: list[int] = []
        over = False
        while True:
            while len(running) < workers and not over:
                number = len(played.candidates)
                if not count(newest_that_counts(number, settings.lag) + 1):
                    break
                proposed = phase.propose(number, archive, settings, cost)
                if proposed is None:
                    over = True
                    break
                played.candidates.append(proposed)
                archive.see(proposed)
                running.append(proposed.number)
            if not running:
                if counted == len(played.candidates):
                    break
                count(len(played.candidates))
                over = False
                continue
            done = played.candidates[finish(running)]
            running.remove(done.number)
            parent = played.outcomes[done.parent] if drift and done.parent is not None else None
            failed = fails(done.number) or bool(failing and done.number and done.number % failing == 0)
            played.outcomes[done.number] = outcome(done, parent, fails=failed, noise=noise)
        count(len(played.candidates))
    return played


def make(preset: str, *, without: tuple[str, ...] = (), phases: tuple[str, ...] = ("serial",)) -> SearchSettings:
    budget = Budget(gmacs=2 * cost(ROOT).gmacs)
    return SearchSettings(
        root=ROOT,
        space=around(ROOT),
        budget=budget,
        plan=PLAN,
        preset=preset,
        rules=rules_of(preset, without),
        phases=phases,
        objective=Objective(reference=2 * cost(ROOT).gmacs),
    )


@pytest.fixture
def settings() -> SearchSettings:
    return make("plus")


plain = partial(make, "plus", without=("rungs",))
