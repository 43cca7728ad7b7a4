"""Candidates that start from others: roots, controls, children and rungs, as every phase of a search makes them."""

from collections.abc import Callable

import msgspec
import numpy as np

from spnas.arch import Candidate
from spnas.rng import rng
from spnas.search.archive import Archive
from spnas.search.draw import Drawn
from spnas.search.front import Point
from spnas.search.predictor import features
from spnas.search.settings import NOISE_CONTROLS, SearchSettings

CONTROL_TRIES = 3
AGE_LIMIT = 50
NEAR = 0.1  # nets whose costs differ by less than this share are near each other
ENOUGH_TO_PREDICT, MUTANTS = 25, 3

DrawFrom = Callable[[int, np.random.Generator], Drawn | None]


def first_root(number: int, archive: Archive, settings: SearchSettings, phase: str) -> Candidate | None:
    """Return the root that a search begins with, None where there is one."""
    if archive.candidates:
        return None
    plan = settings.plan
    return Candidate(
        number=number, role="root", phase=phase, arch=settings.root, steps=plan.root_steps, seed=settings.seed
    )


def next_child(
    number: int, archive: Archive, settings: SearchSettings, *, phase: str, parents: dict[int, Point], draw: DrawFrom
) -> Candidate | None:
    """Return a promising rung, a control that is missing, or a child, from one of `parents`; None if none can be.

    draw: makes a net that is new from the parent of this number.
    """
    if archive.promising:
        return _rung(number, archive, archive.promising, phase)
    chance = rng(settings.seed, "propose", number)
    for parent in _order(number, parents, settings, chance):
        if settings.rules.controls:
            missing = _missing_control(number, parent, archive, settings, phase)
            if missing is not None:
                return missing
            if not archive.controls(parent):
                continue  # without one no child of it could be told from further training
        found = _best_drawn(parent, archive, settings, draw, chance)
        if found:
            rungs = settings.rules.rungs and settings.rules.controls
            return Candidate(
                number=number,
                role="child",
                phase=phase,
                arch=found[0],
                steps=settings.plan.child_steps,
                seed=settings.seed,
                parent=parent,
                moves=found[1],
                until=settings.plan.rung_steps if rungs else None,
            )
    return None


def _order(number: int, parents: dict[int, Point], settings: SearchSettings, chance: np.random.Generator) -> list[int]:
    """Draw the order in which parents are tried."""
    numbers = sorted(parents)
    if settings.rules.age:
        numbers = [n for n in numbers if n >= number - AGE_LIMIT] or numbers
    if not settings.rules.density or len(numbers) < 2:
        return list(chance.permutation(numbers).tolist())
    costs = np.log([max(parents[n].cost, 1e-12) for n in numbers])
    near = (np.abs(costs[:, None] - costs[None]) < NEAR).sum(1)
    weights = 1 / near
    return list(chance.choice(numbers, len(numbers), replace=False, p=weights / weights.sum()).tolist())


def _missing_control(
    number: int, parent: int, archive: Archive, settings: SearchSettings, phase: str
) -> Candidate | None:
    """Return the control that is to be there before nets of the generation of `parent` have children, None when it
    is."""
    is_first = parent == archive.roots()[0] if archive.roots() else False
    wanted = NOISE_CONTROLS if settings.rules.noise and is_first else 1
    tries = archive.tries_at_control(parent)
    if len(archive.controls(parent)) >= wanted or tries >= max(wanted, CONTROL_TRIES):
        return None
    known = archive.candidates[parent]
    return Candidate(
        number=number,
        role="control",
        phase=phase,
        arch=known.arch,
        steps=settings.plan.child_steps,
        seed=settings.seed + 1000 * tries,  # repeated ones see other batches
        parent=parent,
        look=settings.plan.rung_steps if settings.rules.rungs else None,
    )


def least_behind(number: int, archive: Archive, phase: str) -> Candidate | None:
    """Go on with the best of a phase's children where none was gone on with, so that there is one to judge; None where
    one was, or there is none, or not all of them have been looked at."""
    if any(n not in archive.outcomes for n in archive.of_role("child", phase)):
        return None
    mine = {n: gain for n, gain in archive.behind.items() if archive.candidates[n].phase == phase}
    if not mine or not all(archive.failed(n) for n in archive.of_role("rung", phase)):
        return None
    return _rung(number, archive, mine, phase)


def _rung(number: int, archive: Archive, gains: dict[int, float], phase: str) -> Candidate:
    """Go on with the most promising child that was stopped."""
    stopped = archive.candidates[min(gains, key=lambda n: (-gains[n], n))]
    return msgspec.structs.replace(
        stopped, number=number, role="rung", phase=phase, until=None, continues=stopped.number
    )


def _best_drawn(
    parent: int, archive: Archive, settings: SearchSettings, draw: DrawFrom, chance: np.random.Generator
) -> Drawn | None:
    """Draw a child, or several of which what was learned so far says which is best."""
    predictor = archive.predictor
    first = draw(parent, chance)
    if first is None or not settings.rules.predictor or predictor.count < ENOUGH_TO_PREDICT:
        return first
    drawn = [first] + [found for _ in range(MUTANTS - 1) if (found := draw(parent, chance))]
    reference = archive.objective.reference
    shares = [archive.price(arch) / reference for arch, _ in drawn]
    values = [predictor.predict(features(arch, share)) for (arch, _), share in zip(drawn, shares, strict=True)]
    return drawn[int(np.argmax(values))]
