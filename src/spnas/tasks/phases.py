"""A study from its first candidate to its last: its phases, one after the other, with one set of workers."""

import os
from collections.abc import Callable
from functools import partial

import msgspec
import torch

from spnas.arch import Candidate
from spnas.config import START, StudySettings
from spnas.errors import UsageError
from spnas.runs import executors
from spnas.runs.executors import Executor, FileRef
from spnas.runs.folder import RunFolder
from spnas.runs.ledger import Ledger
from spnas.search import phases as shelf
from spnas.search.archive import Archive
from spnas.search.budget import CostOf
from spnas.search.finalists import Finalists
from spnas.shelf import take
from spnas.study import Study, run_phase
from spnas.tasks.finals import refuse_dead_root, settle_finalists
from spnas.worker import make_work

OVERTIME = 1.3  # a plan is cut short only when it takes this much longer than it was made for


class Crew(msgspec.Struct, frozen=True, kw_only=True):
    """Who does the work: the executor's name, and what it is told. None of it changes what a study finds."""

    executor: str = "process"
    workers: int = 1
    gpus_per_worker: float | None = None
    mib_limit: int | None = None
    seconds_limit: float | None = None
    address: str | None = None

    def open(self, folder: RunFolder) -> Executor:
        """Open the executor for the study in `folder`."""
        opened: Executor = take(executors, self.executor).open(
            make_work,
            str(folder.root),
            workers=self.workers,
            seconds_limit=self.seconds_limit,
            mib_limit=self.mib_limit,
            gpus_per_worker=self.gpus_per_worker,
            address=self.address,
        )
        return opened


def crew_of(
    *,
    executor: str = "process",
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    mib_limit: int | None = None,
    seconds_limit: float | None = None,
    address: str | None = None,
) -> Crew:
    """Settle who does the work: with no number of workers, one training a device.

    Raises: UsageError for an unknown executor, or options that this one does not know.
    """
    take(executors, executor)
    if executor != "ray" and address is not None:
        raise UsageError(f"--ray-address is for --executor ray, not {executor}")
    one_device = torch.cuda.is_available() and gpus_per_worker is None
    return Crew(
        executor=executor,
        workers=workers or (1 if one_device or executor == "inline" else max(1, os.cpu_count() or 1)),
        gpus_per_worker=gpus_per_worker,
        mib_limit=mib_limit,
        seconds_limit=seconds_limit,
        address=address,
    )


def study_of(ledger: Ledger, settings: StudySettings, cost: CostOf) -> Study:
    """Return the study that a ledger holds."""
    archive = Archive(settings.search.rules, settings.search.objective, cost)
    start = FileRef(START, settings.start) if settings.start else None
    return Study(ledger, archive, lag=settings.search.lag, start=start)


def run_phases(
    study: Study,
    settings: StudySettings,
    folder: RunFolder,
    *,
    crew: Crew,
    cost: CostOf,
    size: tuple[int, int],
    hours: float | None,
    watch: Callable[[list[Candidate]], None],
) -> Finalists:
    """Run all phases that are not over yet, and return who went into the finals, or would have."""
    search = settings.search
    working = crew.open(folder)
    try:
        for phase in search.phases:
            if phase == "final":
                settle_finalists(study, settings, size)
            if study.is_over(phase):
                continue
            run_phase(
                study,
                working,
                partial(take(shelf, phase).propose, settings=search, cost=cost),
                workers=crew.workers,
                waits=phase != "final",
                out_of_time=partial(_is_late, study, _deadline(settings, phase, hours)),
                watch=watch,
            )
            if phase != "final":
                study.end(phase)
            refuse_dead_root(study)
        working.close()
    except BaseException:
        working.close(kill=True)
        raise
    finally:
        study.heartbeat(now=True)
    return settle_finalists(study, settings, size)


def _is_late(study: Study, deadline: float) -> bool:
    return study.seconds > deadline


def _deadline(settings: StudySettings, phase: str, hours: float | None) -> float:
    """Return after how many seconds of the study no candidate of `phase` begins: its share of the hours is over."""
    if not hours:
        return float("inf")
    plan, names = settings.search.plan, settings.search.phases
    steps = [plan.steps_of(name) for name in names]
    return hours * 3600 * OVERTIME * sum(steps[: names.index(phase) + 1]) / sum(steps)
