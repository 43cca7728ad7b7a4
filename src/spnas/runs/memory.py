"""How much memory a process holds together with what it started, as Linux tells in /proc."""

import contextlib
import os
from pathlib import Path

from spnas.errors import UsageError

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MIB = 2**20


def check_measurable() -> None:
    """Refuse a memory limit where memory cannot be measured.

    Raises: UsageError.
    """
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        raise UsageError("the memory of a job cannot be measured here (no /proc); leave --memory-limit out")


def resident_mib(process: int) -> float:
    """Return the resident memory of a process and of all that descends from it, in MiB; 0 when it is gone.

    Pages that two of them share count twice.
    """
    pages, rest = 0, [process]
    while rest:
        place = Path(f"/proc/{rest.pop()}")
        with contextlib.suppress(OSError):  # it may end at any moment
            pages += int((place / "statm").read_text().split()[1])
            for thread in (place / "task").iterdir():
                rest += [int(child) for child in (thread / "children").read_text().split()]
    return pages * _PAGE / _MIB
