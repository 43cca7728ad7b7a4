"""Whether somebody writes to a study, asked without taking its lock: a writer that begins must not meet us there."""

import os
import socket
from pathlib import Path

import msgspec

from spnas.runs.lock import Owner, alive

LOCKS = Path("/proc/locks")


class Held(msgspec.Struct, frozen=True):
    """What is known of a lock: held, free, or None where it cannot be told; and who took it last, and when."""

    held: bool | None
    owner: Owner | None = None


def held(path: Path) -> Held:
    """Look at the lock at `path`: at the system's list of locks, else at whether its owner is alive."""
    try:
        status, written = path.stat(), path.read_bytes()
    except OSError:
        return Held(False)
    try:
        owner = msgspec.json.decode(written, type=Owner)
    except msgspec.MsgspecError:
        owner = None
    if _listed(status.st_dev, status.st_ino, owner):
        return Held(True, owner)
    if owner is None or owner.host == socket.gethostname():
        # what the list does not show may be another machine's or container's; our own it shows
        return Held(False if LOCKS.exists() else owner is not None and alive(owner.pid), owner)
    return Held(None, owner)


def _listed(device: int, inode: int, owner: Owner | None) -> bool:
    """Whether the system lists the lock, by device and inode; layered file systems call the device otherwise."""
    place, file = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}", f":{inode}"
    try:
        lines = [line.split() for line in LOCKS.read_text().splitlines() if " FLOCK " in line]
    except OSError:
        return False
    process = str(owner.pid) if owner is not None else ""
    return any(place in line or (process in line and any(f.endswith(file) for f in line)) for line in lines)
