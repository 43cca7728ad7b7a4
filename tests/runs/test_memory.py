"""How much memory processes hold."""

import subprocess
import sys
from pathlib import Path

import pytest

from spnas.runs import memory

HOLDER = "import sys; held = b'x' * (int(sys.argv[1]) << 20); print(1, flush=True); sys.stdin.read()"
PARENT = """
import subprocess, sys
with subprocess.Popen([sys.executable, "-c", *sys.argv[1:]]):
    pass
"""


def test_resident_memory_is_what_the_system_counts() -> None:
    """For one process it is VmRSS, and what a process starts counts as its own; one that is gone holds nothing."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLDER, "100"], **pipes) as alone:
        assert alone.stdout
        alone.stdout.readline()
        status = Path(f"/proc/{alone.pid}/status").read_text()
        kib = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        mib = memory.resident_mib(alone.pid)
        assert mib == pytest.approx(kib / 1024, abs=2)
        assert mib > 100
        alone.communicate()
    assert memory.resident_mib(alone.pid) == 0
    with subprocess.Popen([sys.executable, "-c", PARENT, HOLDER, "100"], **pipes) as parent:
        assert parent.stdout
        parent.stdout.readline()
        assert memory.resident_mib(parent.pid) > mib
        parent.communicate()
