"""What holds in every study, however its workers come and go: told from its ledger, without torch."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from tests.journey import engine

from spnas.arch import Candidate, Outcome
from spnas.errors import ResourceError, UsageError
from spnas.runs import RunFolder
from spnas.runs.executors import FileRef, Work, WorkerDied, do, failure
from spnas.search.archive import GENERATIONS, Archive
from spnas.study import Done, Job, Study

FAST = msgspec.structs.replace(engine.PLAN, candidates=8, copies=3)


class Threads:
    """An executor whose workers are done in a random order."""

    def __init__(self, make: Callable[[str], Work], folder: str, *, workers: int) -> None:
        self._pool, self._folder, self._make = ThreadPoolExecutor(workers), folder, make
        self._chance, self._lock = random.Random(workers), threading.Lock()

    def submit(self, job: bytes) -> Future[bytes]:
        with self._lock:
            seconds = self._chance.random() * 0.02
        return self._pool.submit(self._do, job, seconds)

    def _do(self, job: bytes, seconds: float) -> bytes:
        time.sleep(seconds)
        try:
            return do(self._make(self._folder), job)
        except WorkerDied:
            raise
        except Exception as fault:
            raise failure(fault) from None

    def close(self, *, kill: bool = False) -> None:
        self._pool.shutdown(cancel_futures=kill)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("order") / "whole"
    return root, engine.play(root, plan=FAST)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "take", lambda shelf, name: _threads if name == "threads" else real(shelf, name))


real = engine.take
_threads = SimpleNamespace(open=Threads)


def records(root: Path) -> tuple[list[Candidate], dict[int, Outcome], Archive, Study]:
    search = engine.settings_of(FAST)
    with RunFolder(root).open_ledger(read_only=True) as ledger:
        archive = Archive(search.rules, search.objective, engine.cost)
        study = Study(ledger, archive, lag=search.lag)
        return study.candidates, study.outcomes, archive, study


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.usefixtures("threads")
def test_neither_the_number_of_workers_nor_their_order_shows(
    workers: int, whole: tuple[Path, str], tmp_path: Path
) -> None:
    """The ledger is that of one worker."""
    assert engine.play(tmp_path / "s", executor="threads", workers=workers, plan=FAST) == whole[1]


def stop_after(jobs: int) -> Callable[[str], Work]:
    """Return work whose disk is full after so many jobs."""

    def make(folder: str) -> Work:
        work, left = engine.make_work(folder), [jobs]

        def limited(job: bytes) -> bytes:
            left[0] -= 1
            if left[0] < 0:
                raise ResourceError("weights: no space left; free some")
            return work(job)

        return limited

    return make


def test_a_study_goes_on_from_wherever_it_stopped(whole: tuple[Path, str], tmp_path: Path) -> None:
    """A full disk ends it, which is nobody's outcome; it then ends as one that never stopped."""
    for jobs in (0, 1, 5, 11, 14, 17, 23):
        root = tmp_path / f"{jobs}"
        with pytest.raises(ResourceError, match="no space left"):
            engine.play(root, plan=FAST, make=stop_after(jobs))
        with RunFolder(root).open_ledger(read_only=True) as ledger:
            assert len(ledger.outcomes()) == jobs
            assert not any(outcome.failure for outcome in ledger.outcomes().values())
        assert engine.play(root, plan=FAST) == whole[1]


def test_a_study_that_stopped_between_search_and_finals_knows_all_outcomes(
    whole: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finalists are chosen from everything that was learned, also when the choice is made in the next sitting."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine, "settle", die)
        with pytest.raises(KeyboardInterrupt):
            engine.play(tmp_path / "s", plan=FAST)
    assert engine.play(tmp_path / "s", plan=FAST) == whole[1]


def mortal(deaths: int) -> Callable[[str], Work]:
    """Return work that dies at candidate 3 so many times."""
    left = [deaths]

    def make(folder: str) -> Work:
        work = engine.make_work(folder)

        def dying(job: bytes) -> bytes:
            if left[0] and msgspec.json.decode(job, type=Job).candidate.number == 3:
                left[0] -= 1
                raise WorkerDied("killed (signal 9), perhaps out of memory")
            return work(job)

        return dying

    return make


@pytest.mark.usefixtures("threads")
def test_a_dead_worker_is_no_verdict_on_a_candidate_and_two_are(whole: tuple[Path, str], tmp_path: Path) -> None:
    """It is given the same candidate once more."""
    once = engine.play(tmp_path / "once", executor="threads", workers=2, plan=FAST, make=mortal(1))
    assert once == whole[1]
    engine.play(tmp_path / "twice", executor="threads", workers=2, plan=FAST, make=mortal(2))
    assert records(tmp_path / "twice")[1][3].failure == "killed (signal 9), perhaps out of memory"


def answering(change: Callable[[bytes], bytes]) -> Callable[[str], Work]:
    """Return work whose answer about candidate 4 is changed on the way."""

    def make(folder: str) -> Work:
        work = engine.make_work(folder)
        return lambda job: change(work(job)) if b'"number":4,' in job else work(job)

    return make


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.replace(b'"number":4', b'"number":3'), "the worker's answer is about candidate 3"),
        (lambda a: a.replace(b'"ap":', b'"ap":null,"x":'), "cannot be read (ValidationError: Expected `float`, got"),
        (lambda a: a.replace(b'"ap":', b'"ap":NaN,"x":'), "cannot be read (DecodeError: JSON is malformed"),
        (lambda a: a.replace(b'"ap":', b'"ap":1e999,"x":'), "cannot be read (ValidationError: Number out of range"),
        (lambda a: a.replace(b'"ap":', b'"other":'), "ap is not among what was measured"),
        (lambda _: msgspec.json.encode(Done(outcome=Outcome(number=4, failure=" a\n\tb "))), "a b"),
        (lambda a: a[:-9], "cannot be read (DecodeError: Input data was truncated)"),
        (lambda a: a[:1] + b"\xff" + a[2:], "the worker's answer cannot be read"),
    ],
)
def test_an_answer_that_is_none_is_a_failure_with_its_reason(
    change: Callable[[bytes], bytes], reason: str, tmp_path: Path
) -> None:
    """The study goes on with the others."""
    engine.play(tmp_path / "s", plan=FAST, phases=("serial",), make=answering(change))
    outcomes = records(tmp_path / "s")[1]
    assert reason in str(outcomes[4].failure)
    assert [n for n, outcome in outcomes.items() if outcome.failure] == [4]


def refusing(_folder: str) -> Work:
    def work(_job: bytes) -> bytes:
        raise UsageError("--data: is gone; restore it")

    return work


def test_a_fault_of_the_place_ends_the_study_and_is_nobodys(tmp_path: Path) -> None:
    """The same fault would fail all others too."""
    with pytest.raises(UsageError, match="is gone; restore it"):
        engine.play(tmp_path / "s", plan=FAST, make=refusing)
    assert records(tmp_path / "s")[1] == {}


def test_a_finished_study_does_nothing_when_asked_again(whole: tuple[Path, str]) -> None:
    """No job is handed out."""
    assert engine.play(whole[0], plan=FAST, make=refusing) == whole[1]


def test_every_candidate_starts_where_its_record_says(whole: tuple[Path, str]) -> None:
    """From its parent's weights, and the first root from the study's start; finals from nothing."""
    candidates, outcomes, _, study = records(whole[0])
    study.start = FileRef("start.safetensors", "0")
    for candidate in candidates:
        job = msgspec.json.decode(study.job(candidate), type=Job)
        assert job.candidate == candidate
        if candidate.parent is not None:
            assert job.weights is not None
            assert (
                job.weights.name == outcomes[candidate.parent].weights == f"weights/{candidate.parent:05d}.safetensors"
            )
            assert job.files == (job.weights,)
        else:
            assert job.weights == (study.start if candidate.role == "root" else None)
    drift = {n: outcome.metrics["ap50"] for n, outcome in outcomes.items()}
    assert all(drift[c.number] > engine.DRIFT for c in candidates if c.parent is not None)


def generation(candidates: list[Candidate], number: int) -> tuple[int, int]:
    """Return the root of a net's line, and how many steps of descent after it."""
    parent, after = candidates[number].parent, 0
    while candidates[number].role != "root" and parent is not None:
        number, after = parent, after + 1
        parent = candidates[number].parent
    return number, after


def controls_like(candidates: list[Candidate], child: Candidate) -> list[tuple[Candidate, int]]:
    """Return the controls that a child is compared with, and how many generations before its parent theirs are."""
    assert child.parent is not None
    root, after = generation(candidates, child.parent)
    found = [(c, generation(candidates, c.parent)) for c in candidates if c.role == "control" and c.parent is not None]
    return [(c, after - g) for c, (r, g) in found if r == root and 0 <= after - g < GENERATIONS]


def test_children_are_new_within_the_budget_and_compared_with_a_control(whole: tuple[Path, str]) -> None:
    """What a child gains is its metric less its parent's, and less what its generation gained by training on."""
    candidates, outcomes, archive, _ = records(whole[0])
    search = engine.settings_of(FAST)
    children = [c for c in candidates if c.role == "child"]
    assert len([c for c in children if c.phase == "serial"]) == FAST.candidates
    assert len([c for c in children if c.phase == "parallel"]) == FAST.copies
    assert len({c.arch.id for c in children}) == len(children)
    for child in children:
        assert not search.budget.exceeded(engine.cost(child.arch))
        earlier = controls_like(candidates[: child.number], child)
        assert sum(back == 0 for _, back in earlier) >= (3 if child.parent == 0 else 1)
        assert child.parent is not None
        assert child.parent <= child.number - 1
    for number, gain in archive.gains.items():
        parent = candidates[number].parent
        ap = {n: outcome.metrics.get("ap", 0.0) for n, outcome in outcomes.items()}
        controls = controls_like(candidates, candidates[number])
        drifts = [ap[c.number] - ap[c.parent] for c, _ in controls]  # type: ignore[index]
        drift = np.average(drifts, weights=[1 / (1 + back) for _, back in controls])
        assert gain == pytest.approx(ap[number] - ap[parent] - drift, abs=1e-12)  # type: ignore[index]
        assert archive.fitness[number] == pytest.approx(archive.fitness[parent] + gain, abs=1e-12)  # type: ignore[index]
    assert len(archive.gains) > 4


def test_who_is_promising_is_gone_on_with_and_who_is_not_is_not(whole: tuple[Path, str]) -> None:
    """Nobody waits for it when the search is over; a rung goes on with a child that was stopped."""
    candidates, _, archive, _ = records(whole[0])
    rungs = [c for c in candidates if c.role == "rung"]
    assert rungs
    assert archive.promising == {}
    for rung in rungs:
        stopped = candidates[rung.continues or 0]
        assert (stopped.role, stopped.until, rung.until) == ("child", 2, None)
        same = ("arch", "parent", "steps", "phase")
        assert [getattr(rung, name) for name in same] == [getattr(stopped, name) for name in same]


def test_finals_are_as_many_as_planned_over_the_same_seeds(whole: tuple[Path, str]) -> None:
    """Every finalist and the rival once a seed."""
    finals = [c for c in records(whole[0])[0] if c.role in ("final", "rival")]
    seeds = {
        (c.role, c.finalist): [d.seed for d in finals if (d.role, d.finalist) == (c.role, c.finalist)] for c in finals
    }
    assert len(seeds) >= 2
    assert all(of == [1, 2] for of in seeds.values())
