"""One writer per study: a lock that the operating system drops when its owner dies, however it dies."""

import contextlib
import datetime
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from spnas.errors import StudyInUseError
from spnas.runs import files

_SECONDS_FOR_OWNER = 1.0
_held: set[int] = set()


def _drop_locks() -> None:
    """Let go in a forked child: a loader that outlives its parent must not keep the study in use."""
    for lock in _held:
        os.close(lock)
    _held.clear()


os.register_at_fork(after_in_child=_drop_locks)


class Owner(msgspec.Struct, frozen=True):
    """Who holds a lock, and since when."""

    pid: int
    host: str
    since: str


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock at `path`; the lock of a dead owner is taken over.

    Raises: StudyInUseError naming the live owner, within two seconds.
    """
    with files.faults_named(path):
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _held.add(lock)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyInUseError(
                f"{path.parent}: {_owner(lock)} is writing to this study; wait for it, or stop it"
            ) from None
        now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        with files.faults_named(path):
            os.ftruncate(lock, 0)
            os.pwrite(lock, msgspec.json.encode(Owner(os.getpid(), socket.gethostname(), now)), 0)
        yield
    finally:
        if lock in _held:  # not in a child forked meanwhile
            _held.discard(lock)
            fcntl.flock(lock, fcntl.LOCK_UN)  # a child forked a moment ago may not have let go yet
            with contextlib.suppress(OSError):  # all that was written through it is a name
                os.close(lock)


def _owner(lock: int) -> str:
    """Return who holds the lock, in words."""
    owner, until = "another process", time.monotonic() + _SECONDS_FOR_OWNER
    while time.monotonic() < until:
        # Between taking the lock and writing its name, an owner is unknown or still called as the one before.
        with contextlib.suppress(msgspec.MsgspecError):
            known = msgspec.json.decode(os.pread(lock, 4096, 0), type=Owner)
            owner = f"process {known.pid} on {known.host} since {known.since}"
            if known.host != socket.gethostname() or alive(known.pid):
                break
        time.sleep(0.02)
    return owner


def alive(pid: int) -> bool:
    """Whether there is a process of this number here."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
