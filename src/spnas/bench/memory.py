"""The most RAM that a case takes, measured in a process that does nothing else."""

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import msgspec
import torch

from spnas.bench import Case
from spnas.errors import ResourceError

PASSES = 2
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_CHILD = "from spnas.bench.memory import measure_here; measure_here()"


def peak_mib(case: Case) -> float:
    """Return the MiB of RAM that building a case and two passes of it take at most, beyond Python and its libraries.

    Raises: ResourceError when there is not as much.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    request = msgspec.json.encode((case, torch.get_num_threads()))
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], input=request, capture_output=True, env={**os.environ, "PYTHONPATH": path}
    )
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ResourceError(f"{case.arch} at {case.size[0]}x{case.size[1]}: {last[:200]}; give a smaller --image-size")
    return float(done.stdout)


def measure_here() -> None:
    """Read a case from stdin, run it, and print its peak: the process that `peak_mib` starts."""
    from spnas.bench.measure import PASS, detector_of
    from spnas.bench.pictures import noise_batch

    case, threads = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[Case, int])
    torch.set_num_threads(threads)
    batch = noise_batch(case)
    before = forget_peak()
    detector = detector_of(case)
    for turn in range(PASSES):
        PASS[case.what](case, detector, lambda _: batch, turn=turn)
    sys.stdout.write(str(peak_rss_mib() - before))


def forget_peak() -> float:
    """Begin to count the peak of this process's memory anew where the system can, and return the MiB it has now."""
    with contextlib.suppress(OSError):
        _FORGET.write_text("5")
    return peak_rss_mib()


def peak_rss_mib() -> float:
    """Return the most memory, in MiB, that this process has had in RAM."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
