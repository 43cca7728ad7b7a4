import contextlib
import errno
import itertools
import os
import random
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from spnas.arch import Candidate, Move, Outcome, parse
from spnas.errors import IntegrityError, ResourceError, StudyInUseError, UsageError
from spnas.runs import Ledger, RunFolder, files
from spnas.runs.damage import of_weights

ARCH = parse("bottleneck: 64x3 / 128x4 / 256x6 / 512x3 + 0-1-0-2")


def candidate(number: int, **changes: object) -> Candidate:
    moves = (Move("expand-block", number % 3, 1),)
    known = {"role": "child", "arch": ARCH, "steps": 100, "seed": 7, "parent": 0, "moves": moves}
    return Candidate(number=number, **(known | changes))  # type: ignore[arg-type]


def outcome(number: int, **changes: object) -> Outcome:
    known = {"metrics": {"ap": 0.1 * number, "ap50": 0.3}, "gmacs": 4.1, "params": 23, "seconds": 1.5 + number}
    return Outcome(number=number, **(known | changes))  # type: ignore[arg-type]


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Candidates, outcomes and notes survive closing; an unfinished candidate is one without an outcome."""
    failed = outcome(2, failure="killed (signal 9)", metrics={})
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        for number in (0, 1, 2, 3):
            ledger.propose(candidate(number))
        ledger.record(failed)
        ledger.record(outcome(0))
        ledger.note("plan", {"budget": 6.0, "α": [1, None]})
    with Ledger.open(tmp_path / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.candidates() == [candidate(number) for number in (0, 1, 2, 3)]
        assert ledger.outcomes() == {0: outcome(0), 2: failed}
        assert list(ledger.outcomes()) == [0, 2]
        assert ledger.noted("plan", dict[str, object]) == {"budget": 6.0, "α": [1, None]}
        assert ledger.noted("verdict", str) is None


def test_the_dump_knows_neither_order_nor_time(tmp_path: Path) -> None:
    """Two studies that learned the same in another order, speed and number of sittings have the same dump."""
    dumps = set()
    for i, order in enumerate(itertools.permutations(range(3))):
        with Ledger.open(tmp_path / f"{i}.sqlite") as ledger:
            for number in range(3):
                ledger.propose(candidate(number))
            for number in order:
                ledger.record(outcome(number, seconds=float(i)))
                ledger.add_elapsed(i)
            for name in ("verdict", "plan") if i % 2 else ("plan", "verdict"):
                ledger.note(name, {"b": name, "a": 1} if i % 2 else {"a": 1, "b": name})
            ledger.note("_machine", i)
            dumps.add(ledger.dump())
    (dump,) = dumps
    lines = [msgspec.json.decode(line) for line in dump.splitlines()]
    assert [line["candidate"]["number"] for line in lines[:3]] == [0, 1, 2]
    assert lines[1]["outcome"]["metrics"] == {"ap": 0.1, "ap50": 0.3}
    assert [line["note"] for line in lines[3:]] == ["plan", "verdict"]
    assert "seconds" not in dump
    assert "memory" not in dump


def test_the_dump_tells_what_differs(tmp_path: Path) -> None:
    """Another metric, or a missing outcome, is another dump."""
    dumps = set()
    for i, learned in enumerate([outcome(0), outcome(0, metrics={"ap": 0.2}), None]):
        with Ledger.open(tmp_path / f"{i}.sqlite") as ledger:
            ledger.propose(candidate(0))
            if learned:
                ledger.record(learned)
            dumps.add(ledger.dump())
    assert len(dumps) == 3


def test_an_outcome_is_never_replaced(tmp_path: Path) -> None:
    """A second outcome, the same or another, is refused, and so is one for a candidate nobody proposed."""
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.propose(candidate(0))
        ledger.record(outcome(0))
        for again in (outcome(0), outcome(0, gmacs=1.0)):
            with pytest.raises(ValueError, match="candidate 0 has an outcome already"):
                ledger.record(again)
        with pytest.raises(ValueError, match="there is no candidate 1; propose it first"):
            ledger.record(outcome(1))
        assert ledger.outcomes() == {0: outcome(0)}


def test_the_same_is_written_once_and_another_is_refused(tmp_path: Path) -> None:
    """Candidates and notes may be written again as they are, which changes nothing."""
    with Ledger.open(tmp_path / "l") as ledger:
        for _ in range(2):
            ledger.propose(candidate(0))
            ledger.note("plan", {"a": 1, "b": 2})
        ledger.note("plan", {"b": 2, "a": 1})
        before = ledger.dump()
        with pytest.raises(IntegrityError, match="candidate 0 is written already, and differently"):
            ledger.propose(candidate(0, seed=8))
        with pytest.raises(IntegrityError, match="note plan is written already, and differently"):
            ledger.note("plan", {"a": 2})
        assert ledger.dump() == before


def add(ledger: Ledger, *records: Candidate | Outcome) -> None:
    """Add them in one batch."""
    with ledger.batch():
        for record in records:
            if isinstance(record, Candidate):
                ledger.propose(record)
            else:
                ledger.record(record)


def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Where the block raises, or another record in it is refused, nothing of it is there."""
    with Ledger.open(tmp_path / "l") as ledger:
        add(ledger, candidate(0), outcome(0))
        for record, fault in ((outcome(7), "there is no candidate 7"), (outcome(0), "has an outcome already")):
            with pytest.raises(ValueError, match=fault):
                add(ledger, candidate(1), record)
        assert [c.number for c in ledger.candidates()] == [0]
        ledger.propose(candidate(1, seed=8))
    with Ledger.open(tmp_path / "l") as ledger:
        assert [c.seed for c in ledger.candidates()] == [7, 8]


class Interrupted:
    """A connection at which Ctrl-C comes in right after a transaction began, once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection, self.due = connection, True

    def execute(self, *words: Any) -> sqlite3.Cursor:
        done = self.connection.execute(*words)
        if self.due and words[0].startswith("BEGIN"):
            self.due = False
            raise KeyboardInterrupt
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


def test_an_interrupt_between_two_lines_leaves_no_transaction_behind(tmp_path: Path) -> None:
    """What is written on the way out must not meet it, and call the file damaged."""
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger._connection = Interrupted(ledger._connection)  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt), ledger.batch():
            ledger.propose(candidate(0))
        ledger.add_elapsed(1.5)
        ledger._connection.execute("BEGIN IMMEDIATE")  # as if the block had not been entered yet
        ledger.add_elapsed(1.5)
        ledger.propose(candidate(0))
    with Ledger.open(tmp_path / "ledger.sqlite", read_only=True) as ledger:
        assert [c.number for c in ledger.candidates()] == [0]
        assert ledger.elapsed_seconds() == 3.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_number_that_is_not_finite_is_stored(bad: float, tmp_path: Path) -> None:
    """They would come back as null; the caller has to record a failure instead."""
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.propose(candidate(0))
        for learned in (outcome(0, metrics={"ap": bad}), outcome(0, gmacs=bad)):
            with pytest.raises(ValueError, match=r"outcome 0: .* not finite"):
                ledger.record(learned)
        with pytest.raises(ValueError, match=r"note plan: .* not finite"):
            ledger.note("plan", {"x": [bad]})
        assert ledger.outcomes() == {}


def test_events_are_only_ever_added(tmp_path: Path) -> None:
    """The file itself refuses to change or remove an event, whoever asks."""
    path = tmp_path / "l"
    with Ledger.open(path) as ledger:
        ledger.propose(candidate(0))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for change in ("UPDATE event SET body = ''", "DELETE FROM event"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(change)


def test_elapsed_time_adds_up_over_sittings(tmp_path: Path) -> None:
    """Each sitting goes on from where the last one, or its crash, left the clock."""
    for _ in range(3):
        with Ledger.open(tmp_path / "l") as ledger:
            ledger.add_elapsed(1.25)
            ledger.add_elapsed(0.25)
    with Ledger.open(tmp_path / "l") as ledger:
        assert ledger.elapsed_seconds() == 4.5
        assert ledger.dump() == ""


def test_a_reader_changes_nothing(tmp_path: Path) -> None:
    """A reader sees what a writer has committed, cannot write, and makes no ledger where there is none."""
    with pytest.raises(UsageError, match="there is no ledger"):
        Ledger.open(tmp_path / "l", read_only=True)
    assert os.listdir(tmp_path) == []
    with Ledger.open(tmp_path / "l") as writer, Ledger.open(tmp_path / "l", read_only=True) as reader:
        writer.propose(candidate(0))
        assert len(reader.candidates()) == 1
        with pytest.raises(UsageError, match="cannot be written"):
            reader.propose(candidate(1))


def test_a_second_writer_in_the_middle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own lock is named like the study's."""
    monkeypatch.setattr("spnas.runs.database._SECONDS_TO_WAIT_FOR_READERS", 0.05)
    with Ledger.open(tmp_path / "l") as ledger, contextlib.closing(sqlite3.connect(tmp_path / "l")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StudyInUseError, match="another process is using it"):
            ledger.propose(candidate(0))


def read_all(path: Path, expected: tuple[str, float]) -> str:
    """Return what opening a damaged ledger says, "" when it holds all that it should."""
    try:
        with Ledger.open(path) as ledger:
            assert (ledger.dump(), ledger.elapsed_seconds()) == expected
    except (IntegrityError, UsageError) as fault:
        return str(fault)
    return ""


def test_a_flipped_bit_or_a_cut_is_found(tmp_path: Path) -> None:
    """Whatever byte is damaged, opening refuses by name, or it was a byte that holds nothing."""
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        for number in range(20):
            ledger.propose(candidate(number))
            ledger.record(outcome(number))
        ledger.note("plan", [1, 2, 3])
        ledger.add_elapsed(3)
        before = ledger.dump(), ledger.elapsed_seconds()
    whole, chance, found = path.read_bytes(), random.Random(5), 0
    flips = [(at, 1 << bit) for at in range(100) for bit in (0, 7)]
    flips += [(chance.randrange(len(whole)), 1 << chance.randrange(8)) for _ in range(1000)]
    for at, bit in flips:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        said = read_all(path, before)
        if said:
            assert said.startswith(str(path))
            assert "\n" not in said
            found += 1
    assert found > 200
    for size in [0, 1, 99, 100, 4096, *(chance.randrange(len(whole)) for _ in range(20))]:
        path.write_bytes(whole[:size])
        with pytest.raises(IntegrityError, match=r"ledger\.sqlite: "):
            Ledger.open(path)


def test_a_body_changed_behind_our_back_is_found(tmp_path: Path) -> None:
    """A change that leaves a perfect SQLite file still breaks the checksum."""
    path = tmp_path / "l"
    with Ledger.open(path) as ledger:
        ledger.propose(candidate(0))
        ledger.record(outcome(0))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"ap50":0.3', b'"ap50":0.9'))
    with pytest.raises(IntegrityError, match="event 2 is not what its checksum says; the file was damaged"):
        Ledger.open(path)


def test_a_newer_schema_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    """The one asks for a newer spnas, the other is no ledger."""
    path = tmp_path / "l"
    Ledger.open(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(UsageError, match="schema 2 is newer than 1; install"):
        Ledger.open(path)
    with contextlib.closing(sqlite3.connect(tmp_path / "f")) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(IntegrityError, match="is no ledger of spnas"):
        Ledger.open(tmp_path / "f")


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """A process that may not write more ends with exit code 4; the ledger reads well afterwards."""
    path = tmp_path / "l"
    program = (
        "import sys, pathlib\nfrom spnas.runs import Ledger\nfrom spnas.errors import ResourceError\n"
        "ledger, number = Ledger.open(pathlib.Path(sys.argv[1])), 0\n"
        "try:\n"
        "    while True:\n"
        "        ledger.note(f'n{number}', 'x' * 1000)\n"
        "        number += 1\n"
        "except ResourceError as fault:\n"
        "    print(number, fault); ledger.close(); sys.exit(fault.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4, done.stderr
    number, said = done.stdout.split(" ", 1)
    assert said.startswith(f"{path}: cannot be written")
    with Ledger.open(path) as ledger:
        assert all(ledger.noted(f"n{i}", str) == "x" * 1000 for i in range(int(number)))
        assert ledger.noted(f"n{number}", str) is None
        ledger.note(f"n{number}", "now there is room")


def test_a_ledger_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure while it is made leaves none, and the next try succeeds."""
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, "injected")

        patch.setattr(files.os, "replace", refuse)
        with pytest.raises(ResourceError, match="l: cannot be written"):
            Ledger.open(tmp_path / "l")
    assert os.listdir(tmp_path) == []
    Ledger.open(tmp_path / "l").close()


def test_a_ledger_that_is_made_needs_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a file that nobody sees yet would outlive a crash, and nothing removes it."""
    seen, connect = set[str](), sqlite3.connect

    class Watched(sqlite3.Connection):
        def execute(self, *words: object) -> sqlite3.Cursor:
            done = super().execute(*words)  # type: ignore[arg-type]
            seen.update(os.listdir(tmp_path))
            return done

    monkeypatch.setattr(sqlite3, "connect", lambda *words, **options: connect(*words, factory=Watched, **options))
    Ledger.open(tmp_path / "l").close()
    assert len(seen) == 2
    assert not [name for name in seen if name.endswith("-journal")]
    assert os.listdir(tmp_path) == ["l"]


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    """Weights that are changed, gone or outside of the study."""
    folder = RunFolder(tmp_path / "study")
    names = ["weights/0", "weights/1", "weights/2", "../3"]
    with folder.lock(), folder.open_ledger() as ledger:
        for number, name in enumerate(names):
            files.write_atomic(folder.root / name, b"w")
            ledger.propose(candidate(number))
            ledger.record(outcome(number, weights=name, sha256=files.sha256(folder.root / name)))
        (folder.root / "weights" / "1").write_bytes(b"v")
        (folder.root / "weights" / "2").unlink()
        one, two, three = of_weights(folder, ledger.outcomes())
    assert "weights/1: its SHA-256 is" in one.line
    assert "weights/2: is missing" in two.line
    assert "'../3' in it leads outside" in three.line
    assert [one.number, two.number, three.number] == [1, 2, 3]
