"""The loop that keeps workers busy, with workers that do nothing but answer."""

import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest

from spnas.arch import Candidate, Outcome, parse
from spnas.errors import ResourceError
from spnas.runs.executors import WorkerDied, failure, inline
from spnas.runs.ledger import Ledger
from spnas.search.history import History
from spnas.study import Job, Study, run_phase

ARCH = parse("basic: 16x2 / 32x2 / 64x2 / 128x2")


def answer(_folder: str) -> Callable[[bytes], bytes]:
    """Do nothing and say that it went well; every fifth candidate breaks."""

    def work(job: bytes) -> bytes:
        task = msgspec.json.decode(job, type=Job)
        number = task.candidate.number
        if number % 5 == 4:
            raise ValueError(f"broken by design: {number}")
        if number:
            assert task.parent_weights == "weights/00000.safetensors"
        return msgspec.json.encode(
            Outcome(
                number=number,
                metrics={"ap": number / 100},
                weights=f"weights/{number:05d}.safetensors",
                sha256="0" * 64,
            )
        )

    return work


def full_disk(_folder: str) -> Callable[[bytes], bytes]:
    def work(_job: bytes) -> bytes:
        raise ResourceError("weights: no space left; free some")

    return work


def propose(number: int, _history: History) -> Candidate | None:
    if number >= 12:
        return None
    role, parent = ("root", None) if number == 0 else ("child", 0)
    return Candidate(number=number, role=role, arch=ARCH, steps=1, seed=0, parent=parent)  # type: ignore[arg-type]


def play(path: Path, make_work: Callable[[str], Callable[[bytes], bytes]] = answer, **options: object) -> str:
    with Ledger.open(path) as ledger:
        crew = inline.open(make_work, str(path.parent), workers=1)
        run_phase(Study(ledger), crew, propose, lag=4, workers=1, **options)  # type: ignore[arg-type]
        crew.close()
        return ledger.dump()


def test_every_candidate_has_an_outcome_and_failures_have_their_reasons(tmp_path: Path) -> None:
    play(tmp_path / "ledger.sqlite")
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        outcomes = ledger.outcomes()
    assert sorted(outcomes) == list(range(12))
    failed = {n: o.failure for n, o in outcomes.items() if o.failure}
    assert set(failed) == {4, 9}
    assert "ValueError: broken by design: 4" in str(failed[4])


def test_a_study_that_was_done_does_nothing_when_asked_again(tmp_path: Path) -> None:
    first = play(tmp_path / "ledger.sqlite")
    assert play(tmp_path / "ledger.sqlite", full_disk) == first


def test_a_full_disk_ends_the_study_and_is_no_outcome(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="no space left"):
        play(tmp_path / "ledger.sqlite", full_disk)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.outcomes() == {}
        assert [c.number for c in ledger.candidates()] == [0]


def test_what_was_unfinished_is_done_first_when_the_study_goes_on(tmp_path: Path) -> None:
    whole = play(tmp_path / "whole.sqlite")
    with pytest.raises(ResourceError):
        play(tmp_path / "ledger.sqlite", full_disk)
    assert play(tmp_path / "ledger.sqlite") == whole


def test_no_time_left_means_no_further_candidate(tmp_path: Path) -> None:
    asked = iter([False, False, False] + [True] * 9)
    play(tmp_path / "ledger.sqlite", out_of_time=lambda: next(asked))
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert len(ledger.candidates()) == 3


PLAYER = """
import sys; from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.test_study import play
play(Path(sys.argv[1]))
"""


def test_a_study_killed_at_any_moment_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = play(tmp_path / "whole.sqlite")
    here = str(Path(__file__).parents[1])
    for delay in (0.4, 0.8, 1.0, 1.2):
        ledger = tmp_path / f"{delay}.sqlite"
        with subprocess.Popen([sys.executable, "-c", PLAYER, str(ledger), here]) as player:
            try:
                player.wait(timeout=delay)
            except subprocess.TimeoutExpired:
                player.send_signal(signal.SIGKILL)
        assert play(ledger) == whole


class Mortal:
    """An executor whose workers die at candidate 3 so many times."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths
        self.work = answer("")

    def submit(self, job: bytes) -> Future[bytes]:
        future: Future[bytes] = Future()
        if msgspec.json.decode(job, type=Job).candidate.number == 3 and self.deaths:
            self.deaths -= 1
            future.set_exception(WorkerDied("killed (signal 9), perhaps out of memory"))
        else:
            try:
                future.set_result(self.work(job))
            except ValueError as fault:
                future.set_exception(failure(fault))
        return future

    def close(self, *, kill: bool = False) -> None:
        assert not kill


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_dead_worker_is_no_verdict_on_a_candidate_two_are(tmp_path: Path, deaths: int) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        run_phase(Study(ledger), Mortal(deaths), propose, lag=4, workers=2)
        third = ledger.outcomes()[3].failure
    assert third == (None if deaths == 1 else "killed (signal 9), perhaps out of memory")


def missing_disk(_folder: str) -> Callable[[bytes], bytes]:
    def work(_job: bytes) -> bytes:
        raise FileNotFoundError("pictures/1.png")

    return work


def test_a_fault_of_the_place_ends_the_study_and_is_no_outcome(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="FileNotFoundError"):
        play(tmp_path / "ledger.sqlite", missing_disk)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.outcomes() == {}
