"""`spnas search`: grow a backbone for these data within this budget, and say whether it paid."""

import os
from functools import partial
from pathlib import Path

import msgspec

from spnas.assess import input_size
from spnas.config import (
    QUICK,
    StudySettings,
    data_name,
    recipe_for,
    recipe_name_for,
    resize_for,
    search_settings,
    size_of,
)
from spnas.data.batches import Pictures
from spnas.data.choice import DataChoice, choice_of
from spnas.data.records import NOT_A_TARGET, DataSet
from spnas.errors import UsageError
from spnas.nets.memory import activation_mib
from spnas.pace import ROOT_PER_CHILD, plan_for, seconds_per_step
from spnas.runs import executors
from spnas.runs.folder import RunFolder
from spnas.search.budget import parse_budget
from spnas.search.phases import final, serial
from spnas.search.settings import Plan
from spnas.search.verdict import Verdict
from spnas.shelf import take
from spnas.study import Study, run_phase
from spnas.talk import Talk, duration
from spnas.tasks.clock import place_of, settle, time_finals
from spnas.tasks.finals import Finalists, cost_for, judge_finals, refuse_dead_root, settle_finalists, why_not_judged
from spnas.tasks.finish import finish
from spnas.tasks.page import Told
from spnas.tasks.resume import begin_or_go_on, stored_settings
from spnas.tasks.source import open_for
from spnas.tasks.watch import Watcher
from spnas.worker import make_work, materials_for

DEFAULT_HOURS = 1.0
USUAL_SEEDS = 3
OVERTIME = 1.3  # a plan is cut short only when it takes this much longer than it was made for


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a search leaves: where it lies, and its verdict (None while the finals are not done)."""

    folder: str
    verdict: Verdict | None
    why_no_verdict: str | None = None
    finalist: str | None = None
    rival: str | None = None
    finalist_milliseconds: float | None = None
    rival_milliseconds: float | None = None
    timed_on: str | None = None
    best: str | None = None
    best_metrics: dict[str, float] = {}
    report: str | None = None
    candidates: int = 0
    failures: int = 0
    seconds: float = 0.0


def search(
    data: str | Path | DataChoice | None = None,
    *,
    out: str | Path | None = None,
    budget: str | None = None,
    hours: float | None = None,
    candidates: int | None = None,
    steps: int | None = None,
    root: str | None = None,
    image_size: int | None = None,
    recipe: str | None = None,
    batch_size: int | None = None,
    seeds: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    executor: str = "process",
    talk: Talk | None = None,
) -> SearchResult:
    """Search, or go on with the search that `out` holds; with no `data`, on generated pictures.

    Raises: UsageError, DataError, StudyInUseError, ResourceError, IntegrityError: each says what to do in one line.
    """
    talk = talk or Talk(quiet=True)
    choice = choice_of(data)
    folder = RunFolder(out or Path("runs") / data_name(choice))
    parsed = parse_budget(budget) if budget else None
    opened = open_for(choice, talk)
    kind = recipe_name_for(recipe or ("small" if data is None else None))
    resize = resize_for(kind, image_size, opened.train)
    resolved = recipe_for(kind, resize, batch_size=batch_size)
    workers = workers or (1 if resolved.device == "cuda" else max(1, os.cpu_count() or 1))  # one device, one training
    with folder.lock():
        stored = stored_settings(folder, StudySettings)
        size = size_of(opened.train, resize)
        compose = partial(search_settings, recipe_name=kind, size=size, budget=parsed, root=root, seed=seed, plan=QUICK)
        searching, latency = settle(
            compose, stored, budget=parsed, root=root, seed=seed, size=size, recipe=resolved, talk=talk
        )
        plan = _plan(stored, quick=data is None and hours is None, candidates=candidates, steps=steps, seeds=seeds)
        if plan is None:
            step_seconds = seconds_per_step(searching.root, resolved, Pictures(opened.train, resize), threads=1)
            plan = plan_for(
                hours or DEFAULT_HOURS,
                step_seconds=step_seconds,
                workers=workers,
                pictures=len(opened.train),
                batch_size=resolved.train_settings.batch_size,
                seeds=seeds or USUAL_SEEDS,
            )
            talk.say(f"a step takes {step_seconds:.3f} s here")
            plan = plan if candidates is None else msgspec.structs.replace(plan, candidates=candidates)
        settings = StudySettings(
            data=choice,
            fingerprint=opened.fingerprint,
            recipe_name=kind,
            recipe=resolved,
            search=msgspec.structs.replace(searching, plan=plan),
            latency=latency,
        )
        refuse_nothing_to_find(opened, settings)
        begin_or_go_on(folder, settings, stored)
        _introduce(settings, size, talk)
        return _run(folder, settings, opened, hours=hours, workers=workers, executor=executor, talk=talk)


def refuse_nothing_to_find(data: DataSet, settings: StudySettings) -> None:
    """Make sure that there is something to find wherever a detector is judged, and something to learn from.

    Raises: UsageError naming the part without objects.
    """
    materials = materials_for(data, settings)
    parts = {"train": materials.train, "train set aside for ranking": materials.search_val, "val": materials.val}
    for name, pictures in parts.items():
        flags = pictures.annotations.flags
        if not ((flags & NOT_A_TARGET) == 0).any():
            raise UsageError(f"no object in the part of {name} ({len(pictures)} pictures); give more pictures")


def _plan(
    stored: StudySettings | None, *, quick: bool, candidates: int | None, steps: int | None, seeds: int | None
) -> Plan | None:
    """Return the plan where it needs no measurement: the study's own, the quick one, or one of so many steps."""
    if stored is not None:
        plan = stored.search.plan
    elif quick or steps is not None:
        plan = QUICK if quick else msgspec.structs.replace(QUICK, seeds=USUAL_SEEDS)
    else:
        return None
    changes = {"candidates": candidates, "seeds": seeds, "root_steps": steps, "final_steps": steps}
    if steps is not None:
        changes["child_steps"] = max(1, round(steps / ROOT_PER_CHILD))
    return msgspec.structs.replace(plan, **{k: v for k, v in changes.items() if v is not None})


def _introduce(settings: StudySettings, size: tuple[int, int], talk: Talk) -> None:
    plan, root = settings.search.plan, settings.search.root
    spent = msgspec.structs.replace(cost_for(settings, size)(root), mib=activation_mib(root, *size))
    talk.say(f"root {root.text}: {spent} at {size[1]}x{size[0]}, budget {settings.search.budget}")
    talk.say(
        f"plan: {plan.candidates} candidates of {plan.child_steps} steps and their controls, from a root of "
        f"{plan.root_steps}; then {plan.finalists} finalist and an equal-cost ResNet, {plan.final_steps} steps each, "
        f"over {plan.seeds} seeds"
    )


def _run(
    folder: RunFolder,
    settings: StudySettings,
    data: DataSet,
    *,
    hours: float | None,
    workers: int,
    executor: str,
    talk: Talk,
) -> SearchResult:
    """Run both phases with one set of workers, then finish the study."""
    size = input_size(data.train, settings.recipe.resize)
    cost_of = cost_for(settings, size)
    with folder.open_ledger() as ledger:
        study = Study(ledger)
        crew = take(executors, executor).open(make_work, str(folder.root), workers=workers)
        watcher = Watcher(study, settings.search.plan, folder, talk)
        phase = partial(run_phase, study, crew, lag=settings.search.lag, workers=workers, watch=watcher)
        try:
            with talk.progress():
                limit = hours * 3600 * OVERTIME if hours else float("inf")
                serial_limit = limit * (1 - settings.search.plan.final_steps_in_all / settings.search.plan.most_steps)
                if ledger.noted("finalists", Finalists) is None:  # else the serial phase is over, whatever ended it
                    phase(
                        lambda n, h: serial.propose(n, h, settings.search, cost_of),
                        out_of_time=lambda: study.seconds > serial_limit,
                    )
                refuse_dead_root(study)
                chosen, rival = settle_finalists(study, settings, size)
                phase(
                    lambda n, h: final.propose(n, h, settings.search, chosen=chosen, rival=rival),
                    out_of_time=lambda: study.seconds > limit,
                )
            crew.close()
        except BaseException:
            crew.close(kill=True)
            raise
        finally:
            study.heartbeat(now=True)
        verdict = judge_finals(study, chosen, settings.search.plan)
        found = study.candidates[chosen[0]].arch
        times = time_finals(study, [found, rival], size, settings.recipe) if settings.latency else {}
        told = Told(settings=settings, data=data, verdict=verdict, chosen=chosen, rival=rival, milliseconds=times)
        best = finish(folder, study, told, talk)
        return SearchResult(
            folder=str(folder.root),
            verdict=verdict,
            why_no_verdict=why_not_judged(study, settings.search.plan) if verdict is None else None,
            finalist=found.text,
            rival=rival.text,
            finalist_milliseconds=times.get(found.text),
            rival_milliseconds=times.get(rival.text),
            timed_on=str(place_of(settings.recipe)) if times else None,
            best=str(folder.best) if best is not None else None,
            best_metrics=study.outcomes[best].metrics if best is not None else {},
            report=str(folder.report),
            candidates=sum(c.role == "child" for c in study.candidates),
            failures=sum(o.failure is not None for o in study.outcomes.values()),
            seconds=study.seconds,
        )


def describe(result: SearchResult) -> list[str]:
    """Return what a person reads at the end of a search."""
    lines = [result.verdict.sentence if result.verdict else f"No verdict: {result.why_no_verdict}."]
    if result.finalist:
        lines += [f"found: {result.finalist}", f"rival: {result.rival}"]
    if result.timed_on:
        ours, theirs = result.finalist_milliseconds or 0.0, result.rival_milliseconds or 0.0
        lines.append(f"a picture takes {ours:.3g} ms, the rival {theirs:.3g} ms, timed whole on {result.timed_on}")
    if result.best:
        ap, ap50 = result.best_metrics.get("ap", 0.0), result.best_metrics.get("ap50", 0.0)
        lines.append(f"best detector: AP {ap:.3f}, AP50 {ap50:.3f}, in {result.best}")
    tried = f"{result.candidates} candidates in {duration(result.seconds)}"
    lines.append(tried + (f", {result.failures} trainings failed" if result.failures else ""))
    return lines
