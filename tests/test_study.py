"""The loop that keeps workers busy, with workers that do nothing but answer."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import msgspec
import pytest

from spnas.arch import Candidate, Outcome
from spnas.errors import IntegrityError, ResourceError, UsageError
from spnas.runs.executors import Executor, FileRef, WorkerDied, WorkFailed, failure
from spnas.runs.ledger import Ledger
from spnas.search.archive import Archive
from spnas.search.rules import PRESETS
from spnas.search.settings import SearchSettings
from spnas.study import Done, Job, PhaseEnd, Propose, Study, run_phase
from tests.search.conftest import PHASES, PLAN, cost, make, outcome, run

ALL = ("serial", "reignite", "parallel")
SMALL = msgspec.structs.replace(PLAN, candidates=8, copies=3)
Answer = Callable[[Job], Outcome]


class Crew:
    """An executor that does every job at once, or when `hold` is given, that many together and the last one first.

    answer: what a job comes to, or what it raises. told: jobs, in the order they came.
    """

    def __init__(self, answer: Answer, hold: int = 0) -> None:
        self.answer, self.hold = answer, hold
        self.told: list[Job] = []
        self._held: list[tuple[Job, Future[bytes]]] = []

    def submit(self, job: bytes) -> Future[bytes]:
        future: Future[bytes] = Future()
        self._held.append((msgspec.json.decode(job, type=Job), future))
        self.told.append(self._held[-1][0])
        if len(self._held) >= self.hold:
            for task, waiting in reversed(self._held):
                try:
                    waiting.set_result(msgspec.json.encode(Done(outcome=self.answer(task))))
                except (WorkerDied, WorkFailed) as fault:
                    waiting.set_exception(fault)
                except Exception as fault:
                    waiting.set_exception(failure(fault))
            self._held.clear()
        return future

    def close(self, *, kill: bool = False) -> None:
        del kill


def well(job: Job, *, failing: int = 5) -> Outcome:
    """Answer from the made-up landscape, with noise; every fifth breaks."""
    number = job.candidate.number
    if number % failing == failing - 1:
        raise ValueError(f"broken by design: {number}")
    found = outcome(job.candidate, None, noise=0.03)
    return msgspec.structs.replace(found, weights=f"weights/{number:05d}.safetensors", sha256=f"{number:064d}")


class Uneven:
    """Workers of unequal speed, each in a thread of its own: later candidates are often done first."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool

    def submit(self, job: bytes) -> Future[bytes]:
        return self.pool.submit(self._do, msgspec.json.decode(job, type=Job))

    def _do(self, job: Job) -> bytes:
        time.sleep(0.002 * (7 * job.candidate.number % 5))
        try:
            return msgspec.json.encode(Done(outcome=well(job)))
        except ValueError as fault:
            raise failure(fault) from None

    def close(self, *, kill: bool = False) -> None:
        del kill


def settings_of(preset: str = "plus", phases: tuple[str, ...] = ("serial",)) -> SearchSettings:
    return msgspec.structs.replace(make(preset, phases=phases), plan=SMALL)


def study_of(ledger: Ledger, settings: SearchSettings) -> Study:
    archive = Archive(settings.rules, settings.objective, cost)
    return Study(ledger, archive, lag=settings.lag, start=FileRef("start.safetensors", "0" * 64))


def play(
    path: Path, settings: SearchSettings, crew: Executor | None = None, *, workers: int = 1, **more: object
) -> Study:
    with Ledger.open(path) as ledger:
        study = study_of(ledger, settings)
        for name in settings.phases:
            if not study.is_over(name):
                propose: Propose = partial(PHASES[name].propose, settings=settings, cost=cost)
                run_phase(study, crew or Crew(well), propose, workers=workers, **more)  # type: ignore[arg-type]
                study.end(name)
        return study


def dump(path: Path) -> str:
    with Ledger.open(path, read_only=True) as ledger:
        return ledger.dump()


def test_every_candidate_has_an_outcome_and_failures_have_their_reasons(tmp_path: Path) -> None:
    study = play(tmp_path / "ledger.sqlite", settings_of())
    assert sorted(study.outcomes) == [c.number for c in study.candidates]
    failed = {n for n, o in study.outcomes.items() if o.failure}
    assert failed == {n for n in study.outcomes if n % 5 == 4}
    assert "ValueError: broken by design: 4" in str(study.outcomes[4].failure)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("workers", [2, 7])
def test_neither_workers_nor_the_order_they_finish_in_change_the_ledger(
    tmp_path: Path, preset: str, workers: int
) -> None:
    settings = settings_of(preset, ALL)
    play(tmp_path / "one.sqlite", settings)
    with ThreadPoolExecutor(workers) as pool:
        play(tmp_path / "many.sqlite", settings, Uneven(pool), workers=workers)
    assert dump(tmp_path / "many.sqlite") == dump(tmp_path / "one.sqlite")


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_study_is_the_search_that_the_phases_make(tmp_path: Path, preset: str) -> None:
    settings = settings_of(preset, ALL)
    study = play(tmp_path / "ledger.sqlite", settings)
    played = run(settings, noise=0.03, drift=False, fails=lambda number: number % 5 == 4)
    assert study.candidates == played.candidates


def test_a_study_that_was_done_does_nothing_when_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    play(path, settings_of(phases=ALL))
    first, crew = dump(path), Crew(well)
    play(path, settings_of(phases=ALL), crew)
    assert crew.told == []
    assert dump(path) == first


class Stopped(BaseException):
    """The driver ends here, as if it were killed."""


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_study_goes_on_from_any_point_as_if_nothing_had_happened(tmp_path: Path, preset: str) -> None:
    settings = settings_of(preset, ALL)
    whole = play(tmp_path / "whole.sqlite", settings)
    path = tmp_path / "ledger.sqlite"
    left = len(whole.candidates)
    while left > 0:  # so many further answers a sitting, then the driver is gone
        crew = Crew(well)

        def mortal(job: Job, crew: Crew = crew) -> Outcome:
            if len(crew.told) > 10:
                raise Stopped
            return well(job)

        crew.answer = mortal
        try:
            play(path, settings, crew, workers=3)
        except Stopped:
            left -= 8
            continue
        break
    assert dump(path) == dump(tmp_path / "whole.sqlite")


def test_a_replayed_study_proposes_what_the_first_one_did_at_every_number(tmp_path: Path) -> None:
    """Notes on where phases ended and outcomes were waited for put the archive where it was."""
    settings = settings_of(phases=ALL)
    whole = play(tmp_path / "whole.sqlite", settings)
    with Ledger.open(tmp_path / "whole.sqlite") as ledger:
        ends = ledger.notes("phase ", PhaseEnd)
        drained = ledger.notes("drained ", PhaseEnd)
        again = study_of(ledger, settings)
    assert set(ends) == set(ALL)
    assert drained
    assert again.archive.fitness == whole.archive.fitness
    assert again.archive.pool == whole.archive.pool
    assert again.archive.front.points() == whole.archive.front.points()
    assert again.archive.stuck == whole.archive.stuck


def test_workers_are_told_whose_weights_they_start_from(tmp_path: Path) -> None:
    crew = Crew(well)
    study = play(tmp_path / "ledger.sqlite", settings_of(), crew)
    assert crew.told[0].weights == FileRef("start.safetensors", "0" * 64)
    for job in crew.told[1:]:
        parent = job.candidate.parent
        assert parent is not None
        assert job.weights == FileRef(f"weights/{parent:05d}.safetensors", f"{parent:064d}")
        assert job.files == (job.weights,)
    assert len(crew.told) == len(study.candidates)


def test_no_more_are_at_work_than_there_are_workers_nor_than_the_lag_lets(tmp_path: Path) -> None:
    for workers in (1, 3, 50):
        most = list[int]()
        play(
            tmp_path / f"{workers}.sqlite",
            settings_of(),
            Crew(well, hold=0),
            workers=workers,
            watch=lambda running, most=most: most.append(len(running)),
        )
        assert max(most, default=0) <= min(workers, settings_of().lag)


def test_no_time_left_means_no_further_candidate_and_none_is_left_undone(tmp_path: Path) -> None:
    asked = iter([False, False, False] + [True] * 99)
    study = play(tmp_path / "ledger.sqlite", settings_of(), out_of_time=lambda: next(asked))
    assert len(study.candidates) == len(study.outcomes) == 3


def test_a_phase_that_has_nothing_to_propose_waits_for_all_outcomes_and_asks_again(tmp_path: Path) -> None:
    path, asked = tmp_path / "ledger.sqlite", list[tuple[int, int]]()
    serial = partial(PHASES["serial"].propose, settings=settings_of(), cost=cost)

    def propose(number: int, archive: Archive) -> Candidate | None:
        asked.append((number, len(archive.outcomes)))
        return None if number == 3 and len(archive.outcomes) < 3 else None if number == 5 else serial(number, archive)

    with Ledger.open(path) as ledger:
        study = study_of(ledger, settings_of())
        run_phase(study, Crew(well), propose, workers=2)
        assert list(ledger.notes("drained ", PhaseEnd)) == ["3", "5"]
        replayed = study_of(ledger, settings_of())
    assert asked == [(0, 0), (1, 1), (2, 1), (3, 1), (3, 3), (4, 3), (5, 3), (5, 5)]
    assert replayed.ready()
    assert sorted(replayed.archive.outcomes) == [0, 1, 2, 3, 4]


FAULTS = [
    (ResourceError("no space left; free some"), ResourceError),
    (FileNotFoundError("pictures/1.png"), ResourceError),
    (PermissionError("pictures/1.png"), ResourceError),
    (IntegrityError("weights are damaged"), IntegrityError),
    (UsageError("the data have changed"), UsageError),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS, ids=lambda value: getattr(value, "__name__", type(value).__name__))
def test_a_fault_of_the_place_ends_the_study_and_is_no_outcome(
    tmp_path: Path, fault: Exception, kind: type[Exception]
) -> None:
    def faulty(job: Job) -> Outcome:
        if job.candidate.number == 2:
            raise fault
        return well(job)

    path = tmp_path / "ledger.sqlite"
    play(tmp_path / "whole.sqlite", settings_of())
    with pytest.raises(kind, match=str(fault)):
        play(path, settings_of(), Crew(faulty))
    with Ledger.open(path) as ledger:
        assert sorted(ledger.outcomes()) == [0, 1]
        assert [c.number for c in ledger.candidates()] == [0, 1, 2]
    play(path, settings_of())
    assert dump(path) == dump(tmp_path / "whole.sqlite")


@pytest.mark.parametrize("faulty", [1, 2, 3])
def test_a_fault_of_the_place_does_not_lose_what_others_did_at_the_same_moment(tmp_path: Path, faulty: int) -> None:
    def answer(job: Job) -> Outcome:
        if job.candidate.number == faulty:
            raise OSError("no space left")
        return well(job)

    crew = Crew(answer)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        study = study_of(ledger, settings_of())
        serial: Propose = partial(PHASES["serial"].propose, settings=settings_of(), cost=cost)
        root_only: Propose = lambda number, archive: serial(number, archive) if number == 0 else None  # noqa: E731
        run_phase(study, crew, root_only, workers=1)
        crew.hold = 3
        with pytest.raises(ResourceError, match="no space left"):
            run_phase(study, crew, serial, workers=3)
        assert sorted(ledger.outcomes()) == sorted({0, 1, 2, 3} - {faulty})


@pytest.mark.parametrize("deaths", [1, 2, 3])
def test_a_dead_worker_is_no_verdict_on_a_candidate_two_are(tmp_path: Path, deaths: int) -> None:
    left = deaths

    def mortal(job: Job) -> Outcome:
        nonlocal left
        if job.candidate.number == 3 and left:
            left -= 1
            raise WorkerDied("killed (signal 9), perhaps out of memory")
        return well(job)

    crew = Crew(mortal)
    study = play(tmp_path / "ledger.sqlite", settings_of(), crew, workers=2)
    assert study.outcomes[3].failure == (None if deaths == 1 else "killed (signal 9), perhaps out of memory")
    assert [job.candidate.number for job in crew.told].count(3) == 2


def test_what_is_proposed_is_on_disk_before_anyone_works_on_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"

    def looking(job: Job) -> Outcome:
        with Ledger.open(path, read_only=True) as reader:
            numbers = [c.number for c in reader.candidates()]
            assert job.candidate.number in numbers, "not on disk"
        return well(job, failing=1000)

    study = play(path, settings_of(), Crew(looking), workers=3)
    assert not [o.failure for o in study.outcomes.values() if o.failure]


def test_time_adds_up_over_sittings(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        study_of(ledger, settings_of()).heartbeat(now=True)
        first = ledger.elapsed_seconds()
        assert first > 0
        again = study_of(ledger, settings_of())
        again.heartbeat()  # too early for another one
        assert ledger.elapsed_seconds() == first
        assert again.seconds >= first
        again.heartbeat(now=True)
        assert ledger.elapsed_seconds() > first


PLAYER = """
import sys; from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.test_study import Crew, play, settings_of, well
print("begun", flush=True)
play(Path(sys.argv[1]), settings_of(), Crew(well), workers=2)
"""


def test_a_study_killed_at_any_moment_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    play(tmp_path / "whole.sqlite", settings_of())
    whole, here = dump(tmp_path / "whole.sqlite"), str(Path(__file__).parents[1])
    for delay in (0.02, 0.15):
        path = tmp_path / f"{delay}.sqlite"
        command = [sys.executable, "-c", PLAYER, str(path), here]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as player:
            assert player.stdout is not None
            player.stdout.readline()
            try:
                player.wait(timeout=delay)
            except subprocess.TimeoutExpired:
                player.send_signal(signal.SIGKILL)
        play(path, settings_of())
        assert dump(path) == whole
