import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spnas.errors import IntegrityError, StudyInUseError, UsageError
from spnas.runs import RunFolder

HOLDER = """
import sys, time
from spnas.errors import StudyInUseError
from spnas.runs import RunFolder

began = time.monotonic()
try:
    folder = RunFolder(sys.argv[1])
    with folder.lock():
        folder.begin(b"{}")
        print("mine", flush=True)
        time.sleep(float(sys.argv[2]))
except StudyInUseError as fault:
    print(time.monotonic() - began, fault, flush=True)
    sys.exit(fault.exit_code)
"""


def hold(root: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(root), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_every_path_lies_inside(tmp_path: Path) -> None:
    """What records name is found again, and making a folder's object touches nothing."""
    folder = RunFolder(tmp_path / "study")
    assert folder.path_of("weights/00012.safetensors") == folder.weights(12).resolve()
    for path in (folder.study, folder.ledger, folder.report, folder.best, folder.start):
        assert path.parent == folder.root
    assert folder.checkpoint(3).relative_to(folder.root).as_posix() == "checkpoints/00003"
    assert not folder.root.exists()


def test_settings_are_written_once(tmp_path: Path) -> None:
    """They come back byte by byte, may be given again, and cannot be others."""
    folder, settings = RunFolder(tmp_path / "study"), b'{"budget": 6.0,\n "name": "\xc3\xa9"}'
    with folder.lock():
        assert not folder.begun
        folder.begin(settings)
        folder.begin(settings)
        with pytest.raises(UsageError, match="begun with other settings; use another folder"):
            folder.begin(b"{}")
    assert RunFolder(tmp_path / "study").settings() == settings
    with pytest.raises(UsageError, match="there is no study; name a folder"):
        RunFolder(tmp_path / "none").settings()


def test_damaged_settings_are_found(tmp_path: Path) -> None:
    """Every single flipped bit of study.json, a cut and its loss are refused by name."""
    folder = RunFolder(tmp_path / "study")
    with folder.lock(), folder.open_ledger():
        folder.begin(b'{"a": 12}')
    whole = folder.study.read_bytes()
    for at in range(len(whole) - 1):
        folder.study.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises((IntegrityError, UsageError), match=r"study\.json: "):
            RunFolder(folder.root).settings()
    for damaged in (whole[:20], b"", b"\xff\xfe"):
        folder.study.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=r"study\.json: was changed or damaged"):
            RunFolder(folder.root)
    folder.weights(0).touch()
    folder.study.unlink()
    with pytest.raises(IntegrityError, match=r"study\.json: is missing"):
        RunFolder(folder.root)


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    """A folder with other files, a file, or another program's study.json is refused as it is."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "study.json").write_text('{"kind": "astronomy"}')
    for root, said in [("", "is no study and holds"), ("precious", "not a folder"), ("other", "no study of")]:
        with pytest.raises(UsageError, match=said):
            RunFolder(tmp_path / root)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["other", "precious", "study.json"]


def test_a_study_of_a_newer_spnas_is_refused(tmp_path: Path) -> None:
    """Its schema is read before anything else of it."""
    (tmp_path / "study.json").write_text('{"kind": "spnas study", "schema": 2, "future": {}}')
    with pytest.raises(UsageError, match="schema 2 is newer than 1; install the spnas that wrote it"):
        RunFolder(tmp_path)


def test_a_lost_ledger_is_not_begun_anew(tmp_path: Path) -> None:
    """Where weights are, something was learned: an empty ledger would forget it."""
    folder = RunFolder(tmp_path / "study")
    with folder.lock():
        folder.begin(b"{}")
        folder.weights(0).touch()
        with pytest.raises(IntegrityError, match=r"ledger\.sqlite: is missing"):
            folder.open_ledger()


def test_one_process_wins_and_the_others_leave_fast(tmp_path: Path) -> None:
    """Of eight processes one writes; seven exit with code 3 within two seconds and name the winner."""
    processes = [hold(tmp_path / "study", 60) for _ in range(8)]
    winners: list[int] = []
    said = []
    for process in processes:
        assert process.stdout is not None
        word, *rest = process.stdout.readline().split(" ", 1)
        if word == "mine\n":
            winners.append(process.pid)
        else:
            assert process.wait() == 3
            assert float(word) < 2.0  # from asking for the lock on, without the start of Python
            said += rest
    assert len(winners) == 1
    assert len(said) == 7
    assert all(f"process {winners[0]} on " in line and " since 2" in line for line in said)
    began = time.monotonic()
    with (
        pytest.raises(StudyInUseError, match="is writing to this study; wait for it"),
        RunFolder(tmp_path / "study").lock(),
    ):
        pass
    assert time.monotonic() - began < 2.0
    for process in processes:
        process.kill()
        process.communicate()
    with RunFolder(tmp_path / "study").lock():  # of the winner, who is dead
        pass


def test_the_lock_of_a_dead_owner_is_taken_over(tmp_path: Path) -> None:
    """After kill -9 nothing has to be removed by hand, and what was half written is gone."""
    owner = hold(tmp_path / "study", 60)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "mine\n"
    owner.kill()
    owner.communicate()
    folder = RunFolder(tmp_path / "study")
    half = folder.root / "weights" / ".spnas-1-2.tmp"
    half.touch()
    with folder.lock() as removed:
        assert removed == ["weights/.spnas-1-2.tmp"]
        assert not half.exists()


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A loader that outlives the owner must not lock the study."""
    folder = RunFolder(tmp_path / "study")
    program = (
        "import os, sys, time\nfrom spnas.runs import RunFolder\n"
        "with RunFolder(sys.argv[1]).lock():\n"
        "    if os.fork() == 0:\n"
        "        print(os.getpid(), flush=True); time.sleep(60)\n"
        "    os.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder.root)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        owner.kill()
        owner.wait()
        os.kill(child, 0)
        with folder.lock():
            pass
        os.kill(child, signal.SIGKILL)


def test_the_lock_is_not_held_twice_in_one_process(tmp_path: Path) -> None:
    """A second writer in the same process is a second writer; after the first has left it may come."""
    folder = RunFolder(tmp_path / "study")
    with folder.lock():
        with pytest.raises(StudyInUseError, match=f"process {os.getpid()} on"), folder.lock():
            pass
        with pytest.raises(StudyInUseError), folder.lock():
            pass
    with folder.lock():
        pass


def test_best_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """The second bundle holds nothing of the first."""
    folder = RunFolder(tmp_path / "study")
    with folder.lock():
        folder.publish_best(lambda best: best.joinpath("a").touch())
        folder.publish_best(lambda best: best.joinpath("b").touch())
    assert os.listdir(folder.best) == ["b"]
