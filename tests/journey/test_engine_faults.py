"""Candidates that go wrong cannot stop a study or poison it."""

import math
import subprocess
import sys

import pytest
from tests.journey import engine, faulty, killer

from spnas.arch import Candidate, Outcome
from spnas.runs import RunFolder
from spnas.runs.damage import damage_in
from spnas.search.archive import Archive
from spnas.study import LONGEST_REASON, Study

Found = tuple[list[Candidate], dict[int, Outcome], Archive]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A study of 200 candidates, of which three in ten go wrong."""
    root = tmp_path_factory.mktemp("faults") / "study"
    program = "import sys; sys.path.insert(0, sys.argv[1]); from tests.journey.faulty import main; main(sys.argv[2])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(engine.HERE), str(root)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert killer.processes_of(root) == []
    folder, search = RunFolder(root), engine.settings_of(faulty.PLAN)
    assert damage_in(folder) == []
    with folder.open_ledger(read_only=True) as ledger:
        study = Study(ledger, Archive(search.rules, search.objective, engine.cost), lag=search.lag)
        return study.candidates, study.outcomes, study.archive


def test_all_candidates_have_an_outcome_and_every_failure_its_reason_in_one_line(found: Found) -> None:
    """At least 25 kinds of fault, each met at least once, and nobody fails who did not go wrong."""
    candidates, outcomes, _ = found
    assert len(faulty.KINDS) >= 25
    assert len(candidates) >= 200
    assert sorted(outcomes) == list(range(len(candidates)))
    kinds = {number: kind for number in outcomes if (kind := faulty.fault_of(number))}
    assert set(kinds.values()) == set(faulty.KINDS)
    assert {number for number, outcome in outcomes.items() if outcome.failure} == set(kinds)
    for number in kinds:
        reason = outcomes[number].failure
        assert reason
        assert reason.isprintable()
        assert len(reason) <= LONGEST_REASON + 3
        assert outcomes[number].weights is None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("lines", r"RuntimeError: CUDA error: device-side assert triggered (faulty.py:"),
        ("memory error", "MemoryError (faulty.py:"),
        ("surrogate", r"ValueError: name \udcff \x1b[2J\u202e (faulty.py:"),
        ("killed", "the worker was killed (signal 9), perhaps out of memory"),
        ("segfault", "the worker was ended by SIGSEGV (signal 11), a fault in native code"),
        ("hangs", "killed after 6 seconds, the time limit of a job"),
        ("too much memory", "the memory limit of a job is 160 MiB"),
        ("nan", "the worker's answer cannot be read (DecodeError:"),
        ("another's", "the worker's answer is about candidate "),
        ("nothing measured", "ap is not among what was measured"),
        ("no reason", "the worker did not say why"),
    ],
)
def test_the_reason_says_what_went_wrong(kind: str, reason: str, found: Found) -> None:
    """In words that a person can act on."""
    said = [outcome.failure for number, outcome in found[1].items() if faulty.fault_of(number) == kind]
    assert said
    assert all(reason in str(line) for line in said), said


def test_nothing_that_is_not_finite_is_on_the_front_or_compared_with(found: Found) -> None:
    """Nor are there weights of a candidate that failed."""
    _, outcomes, archive = found
    points = archive.front.points()
    assert len(points) > 1
    assert all(math.isfinite(p.fitness) and math.isfinite(p.cost) for p in points)
    assert all(math.isfinite(value) for value in [*archive.fitness.values(), *archive.gains.values()])
    assert not any(outcomes[n].failure for n in archive.fitness)
