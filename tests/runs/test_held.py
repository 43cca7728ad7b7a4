"""A lock that is looked at and left alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from spnas.runs import held as room
from spnas.runs.held import held
from spnas.runs.lock import Owner, hold

HOLDER = """
import sys, time; from pathlib import Path
from spnas.runs.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_no_lock_is_free(tmp_path: Path) -> None:
    assert held(tmp_path / "lock").held is False


@pytest.mark.parametrize("listed", [True, False])
def test_a_lock_is_held_as_long_as_its_owner_lives(
    tmp_path: Path, listed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is killed, with the system's list of locks and without."""
    if not listed:
        monkeypatch.setattr(room, "LOCKS", tmp_path / "no such list")
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        seen = held(path)
        assert seen.held is True
        assert seen.owner is not None
        assert seen.owner.pid == holder.pid
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert held(path).held is False
    with hold(path):  # looking did not take it
        assert held(path).held is True
    if listed:
        assert held(path).held is False


def test_of_another_machine_nothing_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(msgspec.json.encode(Owner(os.getpid(), "another-host", "2026-01-01 00:00:00+00:00")))
    seen = held(path)
    assert seen.held is None
    assert seen.owner is not None
    path.write_bytes(b"{half writ")
    assert held(path).held is False


def test_looking_lets_a_writer_begin_at_any_moment(tmp_path: Path) -> None:
    """It leaves no file of its own and changes none."""
    path = tmp_path / "lock"
    with hold(path):
        before = path.read_bytes(), path.stat().st_mtime_ns
        for _ in range(20):
            assert held(path).held is True
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [p.name for p in tmp_path.iterdir()] == ["lock"]
