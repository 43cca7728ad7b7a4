"""A search on a made-up landscape, without torch: an outcome is a function of the architecture."""

import math
from collections.abc import Callable

import pytest

from spnas.arch import Arch, Candidate, Outcome, parse
from spnas.arch.space import around
from spnas.rng import rng
from spnas.search.budget import Budget, Spent
from spnas.search.history import History
from spnas.search.phases import serial
from spnas.search.settings import Plan, SearchSettings

ROOT = parse("basic: 16x2 / 32x2 / 64x2 / 128x2")
PLAN = Plan(candidates=30, root_steps=100, child_steps=10, final_steps=100, finalists=1, seeds=3)
DRIFT = 0.05  # what mere further training brings


def cost(arch: Arch) -> Spent:
    """Depth weighs more in wide blocks."""
    return Spent(gmacs=sum(w * w for w in arch.widths) / 1e5, params=sum(arch.widths))


def quality(arch: Arch) -> float:
    """Early depth is worth most here."""
    return 0.3 + 0.05 * math.log(sum(1 / (1 + i) for i, stage in enumerate(arch.stages) for _ in stage))


def outcome(candidate: Candidate, parent: Outcome | None, *, fails: bool = False, noise: float = 0.0) -> Outcome:
    if fails:
        return Outcome(number=candidate.number, failure="RuntimeError: out of memory")
    drifted = DRIFT if parent else 0.0
    before = parent.metrics["ap"] - parent.metrics["quality"] if parent else 0.0
    luck = noise * float(rng(0, "luck", candidate.number).standard_normal())
    value = quality(candidate.arch)
    spent = cost(candidate.arch)
    metrics = {"ap": value + before + drifted + luck, "quality": value}
    return Outcome(
        number=candidate.number, metrics=metrics, gmacs=spent.gmacs, params=spent.params, weights="w", sha256="0"
    )


Finish = Callable[[list[int]], int]


def run(
    settings: SearchSettings,
    *,
    workers: int = 1,
    finish: Finish = min,
    failing: int = 0,
    fails: Callable[[int], bool] = lambda _n: False,
) -> History:
    """Play a serial phase with `workers`, of which `finish` chooses who is done next."""
    candidates: list[Candidate] = []
    outcomes: dict[int, Outcome] = {}
    running: list[int] = []
    over = False
    while True:
        while len(running) < workers and not over:
            history = History(tuple(candidates), dict(outcomes))
            if not history.ready_for(len(candidates), settings.lag):
                break
            proposed = serial.propose(len(candidates), history, settings, cost)
            if proposed is None:
                over = True
                break
            candidates.append(proposed)
            running.append(proposed.number)
        if not running:
            return History(tuple(candidates), outcomes)
        number = finish(running)
        running.remove(number)
        done = candidates[number]
        parent = outcomes[done.parent] if done.parent is not None else None
        outcomes[number] = outcome(
            done, parent, fails=fails(number) or bool(failing and number and number % failing == 0)
        )


@pytest.fixture
def settings() -> SearchSettings:
    return SearchSettings(root=ROOT, space=around(ROOT), budget=Budget(gmacs=2 * cost(ROOT).gmacs), plan=PLAN)
