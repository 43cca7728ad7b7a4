"""A study from its first candidate to its last: its phases, one after the other, with one set of workers."""

import os
from collections.abc import Callable
from functools import partial

import msgspec
import torch

from spnas.arch import Candidate
from spnas.config import START, StudySettings
from spnas.errors import OutOfTimeError, UsageError
from spnas.runs import executors
from spnas.runs.executors import Executor, FileRef
from spnas.runs.folder import RunFolder
from spnas.runs.ledger import Ledger
from spnas.search import phases as shelf
from spnas.search.archive import Archive
from spnas.search.budget import CostOf
from spnas.search.finalists import Finalists
from spnas.search.forecast import Habits, lay_out, whole
from spnas.search.tempo import first_guess
from spnas.shelf import take
from spnas.study import PhaseEnd, Study, run_phase
from spnas.talk import duration
from spnas.tasks.finals import refuse_dead_root, settle_finalists
from spnas.worker import make_work

OVERTIME = 1.3  # a plan is cut short only when it takes this much longer than it was made for
BUSY = Habits(controls=0.2, promising=1.0)  # of a search that does more than is usual: it is not cut for that


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
    limits = {"--gpus-per-worker": gpus_per_worker, "--memory-limit": mib_limit, "--time-limit": seconds_limit}
    if executor == "inline" and (given := [name for name, value in limits.items() if value is not None]):
        raise UsageError(f"{given[0]} is for workers, and --executor inline has none; leave one of the two out")
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
    """Run all phases that are not over yet, and return who went into the finals, or would have.

    Raises: UsageError when the root failed; OutOfTimeError when the hours were over before a candidate was tried.
    """
    search = settings.search
    refuse_dead_root(study)
    working = crew.open(folder)
    try:
        for phase in search.phases:
            if phase == "final":
                settle_finalists(study, settings, size)
            if study.is_over(phase):
                continue
            late = run_phase(
                study,
                working,
                partial(take(shelf, phase).propose, settings=search, cost=cost),
                workers=crew.workers,
                waits=phase != "final",
                out_of_time=partial(_is_late, study, _deadline(settings, phase, hours, workers=crew.workers)),
                watch=watch,
            )
            refuse_dead_root(study)
            if phase != "final":
                with study.ledger.batch():
                    if late:
                        _note_cut(study, phase)
                    study.end(phase)
        working.close()
    except BaseException:
        working.close(kill=True)
        raise
    finally:
        study.heartbeat(now=True)
    return settle_finalists(study, settings, size)


def cut_phases(study: Study, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the phases of the search that the hours ended before all of their candidates were tried."""
    return tuple(name for name in names if study.ledger.noted(f"_cut {name}", PhaseEnd) is not None)


def _note_cut(study: Study, phase: str) -> None:
    """Put on record that the clock ended a phase. Raises: OutOfTimeError where nothing can be made of it."""
    if not any(c.role == "child" for c in study.candidates):
        raise OutOfTimeError(
            f"the hours were used up after {duration(study.seconds)}, before a candidate was tried; "
            "run the same command with more --hours to go on"
        )
    study.ledger.note(f"_cut {phase}", PhaseEnd(len(study.candidates)))


def _is_late(study: Study, deadline: float) -> bool:
    return study.seconds > deadline


def _deadline(settings: StudySettings, phase: str, hours: float | None, *, workers: int) -> float:
    """Return after how many seconds of the study no candidate of `phase` begins: its share of the hours is over."""
    if not hours:
        return float("inf")
    search, tempo = settings.search, first_guess(1.0)
    ends = lay_out(
        whole(search.plan, search.rules, search.phases, BUSY),
        seconds=lambda training, alone: tempo.seconds(training, alone=alone),
        workers=workers,
        lag=search.lag,
    )
    return hours * 3600 * OVERTIME * ends[search.phases.index(phase)] / ends[-1]
