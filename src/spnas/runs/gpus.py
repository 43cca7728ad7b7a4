"""Which GPUs this process may use, and how workers share them: told without loading torch."""

import os
import subprocess
from pathlib import Path

from spnas.errors import UsageError

VARIABLE = "CUDA_VISIBLE_DEVICES"
_DRIVER = Path("/proc/driver/nvidia/gpus")
_SECONDS_TO_LIST = 20


def visible() -> tuple[str, ...]:
    """Return the GPUs as CUDA_VISIBLE_DEVICES names them: those it lists, else all that the driver lists."""
    if (chosen := os.environ.get(VARIABLE)) is not None:
        names = [name.strip() for name in chosen.split(",")]
        # CUDA itself ignores all that follows a name it does not know.
        invalid = next((i for i, name in enumerate(names) if name in ("", "-1", "NoDevFiles")), len(names))
        return tuple(names[:invalid])
    return tuple(str(i) for i in range(_count()))


def share(devices: tuple[str, ...], *, workers: int, gpus_per_worker: float) -> tuple[str, ...]:
    """Return CUDA_VISIBLE_DEVICES for every worker.

    gpus_per_worker: a whole number, or a share: with 0.5, workers 0 and 1 share the first GPU; with 0 there is none.
    Raises: UsageError when it is neither, or when there are fewer GPUs than are needed.
    """
    check(gpus_per_worker)
    if gpus_per_worker >= 1:
        each = int(gpus_per_worker)
        taken = [range(each * i, each * (i + 1)) for i in range(workers)]
    elif gpus_per_worker > 0:
        per_gpu = int(1 / gpus_per_worker + 1e-9)
        taken = [range(i // per_gpu, i // per_gpu + 1) for i in range(workers)]
    else:
        taken = [range(0)] * workers
    if taken[-1].stop > len(devices):
        raise UsageError(
            f"{workers} workers with {gpus_per_worker:g} GPUs each need {taken[-1].stop}, {len(devices)} are visible; "
            "use fewer workers or fewer GPUs per worker (--workers, --gpus-per-worker)"
        )
    return tuple(",".join(devices[i] for i in indices) for indices in taken)


def check(gpus_per_worker: float) -> None:
    """Refuse what is neither a whole number nor a share of one GPU.

    Raises: UsageError.
    """
    if not (0 <= gpus_per_worker <= 1 or (gpus_per_worker > 1 and float(gpus_per_worker).is_integer())):
        raise UsageError(f"{gpus_per_worker:g} GPUs per worker; use a whole number, or a share of one such as 0.5")


def _count() -> int:
    if _DRIVER.is_dir():
        return len(list(_DRIVER.iterdir()))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_SECONDS_TO_LIST)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
