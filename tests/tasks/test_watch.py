"""Watching a study from its files: at every moment of its life, and without touching it."""

import json
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from spnas.arch import Outcome
from spnas.config import Ignition, StudySettings, check_phases, recipe_for, search_settings
from spnas.data.batches import Resize
from spnas.data.choice import DataChoice
from spnas.errors import IntegrityError, UsageError
from spnas.runs.executors import inline
from spnas.runs.folder import RunFolder
from spnas.runs.ledger import Ledger
from spnas.runs.tail import Event, Tail
from spnas.search import phases as shelf
from spnas.search.budget import parse_budget
from spnas.search.settings import Plan
from spnas.shelf import take
from spnas.study import Done, Job, run_phase
from spnas.tasks import watch
from spnas.tasks.finals import cost_for, judge_finals, settle_finalists
from spnas.tasks.follow import Follower
from spnas.tasks.phases import study_of
from spnas.tasks.scene import lines_of, spark
from spnas.tasks.watch import Watched
from spnas.worker import Sign, sign_path

SIZE = (64, 64)
PLAN = Plan(
    candidates=24, root_steps=40, child_steps=9, final_steps=40, finalists=3, seeds=2, copies=4, ignite_steps=9, stuck=1
)
PHASES = ("serial", "reignite", "parallel", "final")


class Stopped(BaseException):
    """The writer dies here."""


def settings_of(*, against: str | None = None, preset: str = "plus") -> StudySettings:
    search = search_settings(
        recipe_name="small",
        size=SIZE,
        budget=parse_budget("20MMAC"),
        root=None,
        plan=PLAN,
        seed=0,
        preset=preset,
        phases=check_phases(PHASES, preset),
        against=against,
    )
    recipe = recipe_for("small", Resize(None, 64))
    return StudySettings(
        data=DataChoice(), fingerprint="0", recipe_name="small", recipe=recipe, search=search, ignition=Ignition()
    )


def answer(_folder: str) -> Callable[[bytes], bytes]:
    """Say that a training went well; every ninth breaks, with a name that would do a terminal harm."""

    def work(job: bytes) -> bytes:
        candidate = msgspec.json.decode(job, type=Job).candidate
        number = candidate.number
        if number % 9 == 5:
            raise ValueError("no picture \x1b[2J\u202e.png")
        lit = candidate.role == "reignite"
        metrics = {"top1_error": 0.25} if lit else {"ap": 0.2 + 0.4 * (number * 7 % 10) / 10}
        outcome = Outcome(
            number=number,
            metrics=metrics,
            early=metrics if candidate.look else {},
            gmacs=0.01 + candidate.arch.block_count / 1e4,
            params=1000,
            seconds=2.0,
            weights=f"weights/{number}",
            sha256="0" * 64,
        )
        return msgspec.json.encode(Done(outcome=outcome))

    return work


def play(folder: RunFolder, settings: StudySettings, *, until: int | None = None) -> None:
    """Run a study, or go on with it; with `until`, the writer dies when there are so many outcomes."""
    cost = cost_for(settings, SIZE)
    with folder.lock():
        folder.begin(msgspec.json.encode(settings))
        with folder.open_ledger() as ledger:
            study = study_of(ledger, settings, cost)

            def look(_running: object) -> None:
                if until is not None and len(study.outcomes) >= until:
                    raise Stopped

            crew = inline.open(answer, str(folder.root))
            for phase in settings.search.phases:
                if phase == "final":
                    finalists = settle_finalists(study, settings, SIZE)
                if study.is_over(phase):
                    continue
                member: ModuleType = take(shelf, phase)
                run_phase(
                    study, crew, partial(member.propose, settings=settings.search, cost=cost), workers=1, watch=look
                )
                if phase != "final":
                    study.end(phase)
            study.heartbeat(now=True)
            judge_finals(study, settings, finalists)


def test_a_ledger_that_is_being_written_is_looked_at_next_time(tmp_path: Path) -> None:
    """A slow disk may keep the writer at it for longer than anybody waits."""
    folder = killed(tmp_path / "run", 3)
    tail = Tail(folder.ledger)
    writer = sqlite3.connect(folder.ledger, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    assert tail.news() == []
    writer.execute("ROLLBACK")
    writer.close()
    assert tail.news() != []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("watch") / "run"
    play(RunFolder(place), settings_of())
    return place


def killed(place: Path, until: int, settings: StudySettings | None = None) -> RunFolder:
    folder = RunFolder(place)
    with pytest.raises(Stopped):
        play(folder, settings or settings_of(), until=until)
    return folder


def state_of(place: Path) -> list[tuple[str, int, int, bytes]]:
    """All that a reader could have changed."""
    return [
        (str(p), p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes() if p.is_file() else b"")
        for p in [place, *sorted(place.rglob("*"))]
    ]


def test_a_finished_study_is_told_whole_and_left_as_it_is(finished: Path) -> None:
    before = state_of(finished)
    seen = watch(finished)
    assert state_of(finished) == before
    assert seen.state == "finished"
    assert seen.verdict is not None
    assert not seen.running
    assert seen.seconds_left is None
    assert {p.name for p in seen.phases if p.over} == set(PHASES) - {"final"}
    assert seen.failed == len(seen.failures) > 0
    assert all(line.count("no picture") == 1 for line in seen.failures)
    assert [net.name for net in seen.finals][-1] == "ResNet of equal cost"
    assert all(net.planned == 2 for net in seen.finals)
    assert msgspec.json.decode(msgspec.json.encode(seen), type=Watched) == seen


def test_what_is_read_in_pieces_is_what_the_search_itself_knows(finished: Path) -> None:
    """The follower's archive is the study's: fitness, gains, front and hypervolume."""
    settings = settings_of()
    follower = Follower(RunFolder(finished))
    follower.refresh()
    with Ledger.open(finished / "ledger.sqlite", read_only=True) as ledger:
        study = study_of(ledger, settings, cost_for(settings, SIZE))
    counted = {n: f for n, f in follower.archive.fitness.items() if n in study.archive.fitness}
    assert counted == study.archive.fitness
    assert follower.outcomes == study.outcomes
    assert follower.candidates == study.candidates
    assert follower.volumes[-1] == follower.archive.front.hypervolume == max(follower.volumes)


@pytest.mark.parametrize("until", [0, 1, 4, 11, 20])
def test_a_killed_study_is_stopped_and_shows_no_stale_sign_as_running(tmp_path: Path, until: int) -> None:
    folder = killed(tmp_path / "run", until) if until else RunFolder(tmp_path / "run")
    if not until:
        folder.root.mkdir()
        folder.begin(msgspec.json.encode(settings_of()))
        assert watch(folder.root).state == "waiting"
        return
    follower = Follower(folder)
    follower.refresh()
    for number in follower.unfinished():
        _sign(folder, number, 3)
    seen = watch(folder.root)
    assert seen.state == "stopped"
    assert seen.running == ()
    assert len(follower.outcomes) == until
    assert seen.seconds_left is None
    assert any("stopped (run the same search again" in line for line in lines_of(seen))


def _sign(folder: RunFolder, number: int, step: int) -> None:
    path = sign_path(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(Sign(number=number, step=step, steps=9, loss=1.0)))


def test_a_running_study_shows_what_is_trained_and_signs_of_before_are_none(tmp_path: Path) -> None:
    """A sign counts when it is younger than the lock of the present writer."""
    folder = killed(tmp_path / "run", 6)
    settings = settings_of()
    cost = cost_for(settings, SIZE)
    with folder.lock(), folder.open_ledger() as ledger:
        study = study_of(ledger, settings, cost)
        for _ in range(2):
            member = take(shelf, "serial")
            number = len(study.candidates)
            study.propose(member.propose(number, study.archive, settings=settings.search, cost=cost))
        first, second = (c.number for c in study.candidates[-2:])
        _sign(folder, first, 3)
        os.utime(sign_path(folder, first), (time.time() - 100, time.time() - 100))
        _sign(folder, second, 6)
        seen = watch(folder.root)
    assert seen.state == "running"
    assert seen.writer is not None
    assert str(os.getpid()) in seen.writer
    assert {u.number: u.step for u in seen.running if u.number >= first} == {first: None, second: 6}
    assert seen.seconds_left is not None
    assert seen.seconds_left > 0
    text = "\n".join(lines_of(seen))
    assert "begins" in text
    assert "6/" in text
    assert watch(folder.root).state == "stopped"


def test_nothing_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged file is not opened; of a changed one only the new events are decoded."""
    folder = killed(tmp_path / "run", 8)
    follower = Follower(folder)
    assert follower.refresh()
    before = len(follower.candidates)
    taken: list[str] = []
    real = follower._take

    def take_down(event: Event) -> None:
        taken.append(event.kind)
        real(event)

    monkeypatch.setattr(follower, "_take", take_down)
    monkeypatch.setattr(follower._tail, "_open", lambda: pytest.fail("opened"))
    assert not follower.refresh()
    monkeypatch.undo()
    monkeypatch.setattr(follower, "_take", take_down)
    play(folder, settings_of())
    assert follower.refresh()
    with Ledger.open(folder.ledger, read_only=True) as ledger:
        assert taken.count("candidate") == len(ledger.candidates()) - before
    monkeypatch.undo()
    assert follower.verdict is not None


def test_what_a_killed_writer_left_half_written_is_rolled_back_in_a_copy(tmp_path: Path) -> None:
    """A hot journal: the reader sees the state before, and the files stay as they are."""
    folder = killed(tmp_path / "run", 6)
    before = watch(folder.root)
    copy = tmp_path / "hot"
    copy.mkdir()
    connection = sqlite3.connect(folder.ledger, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT OR REPLACE INTO elapsed (id, seconds, sha256) VALUES (1, '999.0', 'x')")
    for number in range(1000, 1400):
        row = (number, "note", f"n{number}", "x" * 400, "0")
        connection.execute("INSERT INTO event (id, kind, name, body, sha256) VALUES (?, ?, ?, ?, ?)", row)
    for name in ("study.json", "ledger.sqlite", "ledger.sqlite-journal"):
        (copy / name).write_bytes((folder.root / name).read_bytes())
    connection.execute("ROLLBACK")
    connection.close()
    assert (copy / "ledger.sqlite-journal").stat().st_size > 0
    kept = state_of(copy)
    seen = watch(copy)
    assert state_of(copy) == kept
    assert seen.front == before.front
    assert seen.seconds == before.seconds


def test_a_folder_that_may_only_be_read_will_do(finished: Path, tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    for name in ("study.json", "ledger.sqlite", "lock"):
        (place / name).write_bytes((finished / name).read_bytes())
        (place / name).chmod(stat.S_IRUSR)
    place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert watch(place).verdict == watch(finished).verdict
    finally:
        place.chmod(stat.S_IRWXU)


def test_the_writer_goes_on_while_it_is_watched(tmp_path: Path) -> None:
    """One look after every outcome, and the end is the same."""
    plain, place = RunFolder(tmp_path / "plain"), RunFolder(tmp_path / "run")
    play(plain, settings_of())
    for until in range(1, 30, 3):
        with pytest.raises(Stopped):
            play(place, settings_of(), until=until)
        watch(place.root)
    play(place, settings_of())
    with plain.open_ledger(read_only=True) as one, place.open_ledger(read_only=True) as other:
        assert one.dump() == other.dump()


def test_what_is_no_search_of_this_version_is_refused_in_one_line(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        watch(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="there is no study"):
        watch(tmp_path)
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(UsageError, match="is no study and holds"):
        watch(tmp_path)
    other = RunFolder(tmp_path / "other")
    other.root.mkdir()
    other.begin(b'{"kind of": "something else"}')
    with pytest.raises(UsageError, match="is no search, or one of another version"):
        watch(other.root)
    newer = tmp_path / "newer"
    newer.mkdir()
    text = json.loads((finished / "study.json").read_bytes())
    (newer / "study.json").write_text(json.dumps({**text, "schema": 99}))
    with pytest.raises(UsageError, match="schema 99 is newer"):
        watch(newer)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for name in ("study.json", "ledger.sqlite"):
        (damaged / name).write_bytes((finished / name).read_bytes())
    data = bytearray((damaged / "ledger.sqlite").read_bytes())
    place = data.index(b'"metrics":{"ap"')
    data[place + 2] ^= 1
    (damaged / "ledger.sqlite").write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="not what its checksum says"):
        watch(damaged)


def test_lines_fit_and_names_do_no_harm(finished: Path) -> None:
    seen = watch(finished)
    for width, height in ((60, 12), (80, 24), (200, 60)):
        lines = lines_of(seen, width=width, height=height)
        assert len(lines) <= height
        assert all(len(line) <= width and line.isprintable() for line in lines)
    text = "\n".join(lines_of(seen, width=250))
    assert "\\x1b[2J\\u202e.png" in text
    assert seen.verdict is not None
    assert seen.verdict in text
    for part in ("front: ", "hypervolume", "last outcomes", "failed: ", "re-ignitions", "with copies: ", "finals"):
        assert part in text
    assert "top1 error 25.0 %" in text


@pytest.mark.parametrize("against", ["params", "mib"])
def test_other_costs_are_told_too(tmp_path: Path, against: str) -> None:
    """Memory is not among what outcomes tell: the front is shown against GMACs then, and says so."""
    seen = watch(killed(tmp_path / "run", 14, settings_of(against=against)).root)
    assert seen.cost_unit == ("params" if against == "params" else "gmacs")
    assert seen.front
    assert all(net.cost > 0 for net in seen.front)
    assert seen.hypervolume > 0


def test_it_shows_until_the_study_is_finished(finished: Path) -> None:
    shown: list[Watched] = []
    assert watch(finished, show=shown.append) == shown[0]
    assert len(shown) == 1


def test_a_line_of_blocks_goes_from_the_least_to_the_most() -> None:
    assert spark([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert spark([2.0], 10) == "▁"
    long = spark(range(1000), 40)
    assert len(long) <= 40
    assert (long[0], long[-1]) == ("▁", "█")
