"""How long a forward pass takes on a device: of one picture, through a whole backbone or one of its pieces."""

import contextlib
import platform
import time
from collections.abc import Callable, Sequence
from typing import cast

import msgspec
import torch
from torch import Tensor, nn

from spnas.arch import Arch
from spnas.nets.backbone import Backbone
from spnas.nets.pieces import Piece, Size, build

LEAST_ROUNDS, MOST_ROUNDS = 5, 40
SECONDS_EACH = 0.4  # of measuring, beyond the least rounds
RUNS_AT_ONCE = 10  # on a GPU, so that what is timed is the work and not the wait for it


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how forward passes are timed: one picture at a time, channels last, without gradients."""

    device: str
    name: str
    threads: int
    precision: str
    torch: str

    def __str__(self) -> str:
        threads = "" if self.device == "cuda" else f", {self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.name}{threads}, {self.precision}"


def this_place(device: str, precision: str) -> Place:
    """Return this machine's `device`, with the threads torch has in this process."""
    return Place(
        device=device,
        name=torch.cuda.get_device_name() if device == "cuda" else _processor(),
        threads=torch.get_num_threads(),
        precision=precision,
        torch=str(torch.__version__),
    )


def _processor() -> str:
    """Return the name of the processor, which `platform` does not know on Linux."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def time_all(things: Sequence[Piece | Arch], size: Size, place: Place) -> list[float]:
    """Return the milliseconds that each of `things` takes; `size` is the picture's, for whole nets.

    They take turns, round after round, so that a machine which warms up or is shared slows all of them alike, and
    the least of the rounds counts: whatever else the machine does only adds to a time. For the same reason it is the
    time that the processor worked that counts where there is one thread; on a quiet machine that is all of it.
    """
    runs = [_run_of(thing, size, place) for thing in things]
    best = [float("inf")] * len(runs)
    for run in runs:
        run()  # warm-up: kernels are chosen, memory is taken
    spent = [0.0] * len(runs)
    for turn in range(MOST_ROUNDS):
        for i, run in enumerate(runs):
            if turn < LEAST_ROUNDS or spent[i] < SECONDS_EACH:
                seconds = run()
                spent[i] += seconds * (RUNS_AT_ONCE if place.device == "cuda" else 1)
                best[i] = min(best[i], seconds)
    return [1000 * seconds for seconds in best]


def _run_of(thing: Piece | Arch, size: Size, place: Place) -> Callable[[], float]:
    """Build a thing, and return what runs it once and says how many seconds that took."""
    module = (Backbone(thing) if isinstance(thing, Arch) else build(thing)).eval()
    h, w, channels = (*size, 3) if isinstance(thing, Arch) else (*thing.size, thing.in_channels)
    module = cast(nn.Module, module.to(device=place.device, memory_format=torch.channels_last))  # type: ignore[call-overload]
    on_gpu, lower = place.device == "cuda", place.precision == "bf16"
    clock = time.thread_time if place.threads == 1 and not on_gpu else time.perf_counter

    @torch.inference_mode()
    def run() -> float:
        x = _picture((1, h, w, channels), place.device)
        with torch.autocast(place.device, torch.bfloat16, enabled=lower):
            if on_gpu:
                torch.cuda.synchronize()
            began = clock()
            for _ in range(RUNS_AT_ONCE if on_gpu else 1):
                module(x)
            if on_gpu:
                torch.cuda.synchronize()
        return (clock() - began) / (RUNS_AT_ONCE if on_gpu else 1)

    return run


def _picture(shape: tuple[int, int, int, int], device: str) -> Tensor:
    """Return an input (N, C, H, W), channels last, written just now, as it is inside of a whole net."""
    n, h, w, c = shape
    return torch.full((n, h, w, c), 0.5, device=device).permute(0, 3, 1, 2)
