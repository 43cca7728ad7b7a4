"""How much a search is going to train: from the hours there are, or as it was asked for."""

import math
from pathlib import Path

import msgspec

from spnas.assess import Recipe
from spnas.config import QUICK, StudySettings, Wishes
from spnas.data.batches import Pictures
from spnas.errors import UsageError
from spnas.pace import IGNITE_SHARE, ROOT_PER_CHILD, plan_for, seconds_per_step
from spnas.search.settings import Plan, SearchSettings
from spnas.talk import Talk

DEFAULT_HOURS = 1.0
USUAL_SEEDS = 3
COPIES_SHARE = 0.4  # children of the parallel phase per child of the serial one
STUCK_SHARE = 0.25  # children without growth, as a share of all, after which a search is stuck
LEAST_STUCK = 4


def plan_of(
    wishes: Wishes,
    search: SearchSettings,
    recipe: Recipe,
    pictures: Pictures,
    *,
    stored: StudySettings | None,
    quick: bool,
    workers: int,
    talk: Talk,
) -> Plan:
    """Return the plan of a study: its own where it has begun, else one made from the wishes; what they leave open is
    sized by a few timed steps, unless it is to be quick.

    Raises: UsageError when the hours are too short.
    """
    if stored is not None:
        return stored.search.plan  # other wishes are refused, by name
    if quick and wishes.hours is None:
        return completed(_changed(QUICK, wishes), wishes, search.phases)
    if wishes.steps is not None:
        usual = msgspec.structs.replace(QUICK, seeds=USUAL_SEEDS)
        return completed(_changed(usual, wishes), wishes, search.phases)
    step_seconds = seconds_per_step(search.root, recipe, pictures, threads=1)
    talk.say(f"a step takes {step_seconds:.3f} s here")
    plan = plan_for(
        wishes.hours or DEFAULT_HOURS,
        step_seconds=step_seconds,
        workers=workers,
        lag=search.lag,
        pictures=len(pictures),
        batch_size=recipe.train_settings.batch_size,
        seeds=wishes.seeds or USUAL_SEEDS,
        phases=search.phases,
        rules=search.rules,
        copies_share=COPIES_SHARE,
        candidates=wishes.candidates,
        copies=wishes.copies,
    )
    return completed(_changed(plan, wishes), wishes, search.phases)


def completed(plan: Plan, wishes: Wishes, phases: tuple[str, ...]) -> Plan:
    """Fill in what follows from the rest of a plan and from the phases."""
    parallel, reignite = "parallel" in phases, "reignite" in phases
    copies = wishes.copies or max(2, math.ceil(COPIES_SHARE * plan.candidates)) if parallel else 0
    ignite = wishes.ignite_steps or max(1, round(IGNITE_SHARE * plan.root_steps)) if reignite else 0
    plan = msgspec.structs.replace(
        plan,
        copies=copies,
        ignite_steps=ignite,
        finalists=plan.finalists + 2 * parallel,  # what was found, and the best with copies beside a serial one
        stuck=wishes.stuck or max(LEAST_STUCK, round(STUCK_SHARE * plan.candidates)),
    )
    if reignite and "serial" in phases and plan.candidates <= plan.ignition_charge + plan.stuck:
        # a re-ignition takes the place of children: without more of them there would never be one
        least = plan.ignition_charge + plan.stuck
        if wishes.candidates is not None:
            raise UsageError(
                f"--candidates {wishes.candidates}: a re-ignition comes after {plan.stuck} without progress and takes "
                f"the place of {plan.ignition_charge}; give more than {least}, or leave reignite out of --phases"
            )
        plan = msgspec.structs.replace(plan, candidates=plan.candidates + least)
    return plan


def _changed(plan: Plan, wishes: Wishes) -> Plan:
    """Return a plan with what was asked for in its place."""
    steps = wishes.steps
    changes = {
        "candidates": wishes.candidates,
        "copies": wishes.copies,
        "ignite_steps": wishes.ignite_steps,
        "seeds": wishes.seeds,
        "stuck": wishes.stuck,
        "root_steps": steps,
        "final_steps": steps,
        "child_steps": None if steps is None else max(1, round(steps / ROOT_PER_CHILD)),
    }
    return msgspec.structs.replace(plan, **{k: v for k, v in changes.items() if v is not None})


def refuse_wishes(wishes: Wishes, phases: tuple[str, ...]) -> None:
    """Refuse what would have no effect. Raises: UsageError naming the option."""
    if wishes.hours is not None and wishes.hours <= 0:
        raise UsageError(f"--hours {wishes.hours:g}: give more than 0")
    if wishes.copies is not None and "parallel" not in phases:
        raise UsageError("--copies is for the parallel phase; add parallel to --phases, or leave it out")
    if (wishes.ignite_steps is not None or wishes.stuck is not None) and "reignite" not in phases:
        raise UsageError("--reignite-steps and --stuck are for re-ignition; add reignite to --phases")


def data_folder(path: str | Path) -> str:
    """Return the absolute path of a folder of labelled pictures. Raises: UsageError when it is none."""
    if not Path(path).is_dir():
        raise UsageError(f"--reignite-data {path}: no such folder; give one with a folder per class")
    return str(Path(path).absolute())
