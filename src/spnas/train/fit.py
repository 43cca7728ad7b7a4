"""In how few parts a batch can be taken: as memory allows, by trying on a GPU, by counting on a CPU.

The pictures of a step stay the same, and with them the learning rate that suits; only the parts they are taken in
follow the machine.
"""

from pathlib import Path

import torch
from torch import nn

from spnas.arch import Arch
from spnas.data.batches import STRIDE, Batch
from spnas.nets.memory import activation_mib
from spnas.train.loop import step_loss
from spnas.train.settings import TrainSettings

OVER_BACKBONE = 3.0  # memory of a step on a CPU over the activations of its backbone; 1.3 to 2.9 were measured
STATES = 5  # copies of the weights: themselves, gradients, average, and two of an optimiser
USABLE = 0.8
BOXES = 8  # a picture, in the batch that is tried


def parts_by_trying(detector: nn.Module, settings: TrainSettings, *, size: tuple[int, int], rows: int) -> int:
    """Return in how few parts `rows` pictures of height and width `size` can be taken on the GPU of `detector`."""
    for parts in _divisors(rows):
        try:
            _try(detector, settings, size, rows // parts)
        except torch.cuda.OutOfMemoryError:
            continue
        finally:
            detector.zero_grad(set_to_none=True)
            peak, total = torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(0).total_memory
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if peak <= USABLE * total:
            return parts
    return rows


def _try(detector: nn.Module, settings: TrainSettings, size: tuple[int, int], count: int) -> None:
    height, width = (-(-side // STRIDE) * STRIDE for side in size)
    corner = torch.rand(count, BOXES, 2) * torch.tensor([width / 2, height / 2])
    boxes = torch.cat((corner, corner + torch.tensor([width / 4, height / 4])), 2)
    batch = Batch(
        images=torch.rand(count, 3, height, width),
        boxes=boxes,
        labels=torch.zeros(count, BOXES, dtype=torch.int64),
        ignore=torch.zeros(count, BOXES, dtype=torch.bool),
        index=torch.arange(count),
        scale=torch.ones(count, 2),
        sizes=torch.tensor([[height, width]] * count),
    )
    terms = step_loss(detector.train(), batch, torch.Generator().manual_seed(0), settings.precision)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())


def parts_by_counting(
    arch: Arch, weights: int, *, size: tuple[int, int], rows: int, available_mib: float | None = None
) -> int:
    """Return in how few parts `rows` pictures can be taken on a CPU, of a detector of so many `weights`."""
    free = USABLE * (available_mib if available_mib is not None else free_mib())
    each = OVER_BACKBONE * activation_mib(arch, *size)
    rest = free - STATES * weights * 4 / 2**20
    return next((parts for parts in _divisors(rows) if rows // parts * each <= rest), rows)


def free_mib() -> float:
    """Return the MiB of memory that this process may still take, as far as Linux tells."""
    known = [float(2**20)]
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            known.append(int(line.split()[1]) / 1024)
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        known.append((int(limit) - int(used)) / 2**20)
    return min(known)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _divisors(rows: int) -> list[int]:
    return [parts for parts in range(1, rows + 1) if rows % parts == 0]
