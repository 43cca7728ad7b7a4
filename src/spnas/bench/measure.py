"""Cases take turns, pass after pass, after one that nobody counts: kernels are chosen and memory is taken in it."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import nn

from spnas.arch.published import arch_of
from spnas.bench import Case, Measured, Quartiles
from spnas.bench.memory import peak_mib
from spnas.data.batches import Batch, Resize
from spnas.nets.inference import optimise_for_inference
from spnas.nets.settings import PRESETS
from spnas.train.loop import TrainKey, train
from spnas.train.settings import PRESETS as TRAINING
from spnas.train.weights import ModelConfig, build

CLASSES = tuple(map(str, range(80)))  # as COCO's; of so many, none is likely to a net that has learned nothing
LEAST_TURNS, MOST_TURNS = 5, 1000
RATE = 1e-6  # weights hardly move: what is timed is the same at every step, and nothing diverges
BatchOf = Callable[[int], Batch]
ToldOf = Callable[[int, int], None]


class Pass(NamedTuple):
    """Seconds of one pass: of the clock, and of all processors that worked for this process."""

    wall: float
    work: float


def detector_of(case: Case) -> nn.Module:
    """Build the detector of a case with fresh weights, where it is to run.

    Raises: UsageError for an unknown name.
    """
    config = ModelConfig(
        detector=case.detector,
        arch=arch_of(case.arch).text,
        classes=CLASSES,
        category_ids=tuple(range(len(CLASSES))),
        settings=PRESETS[case.preset],
        resize=Resize(None, max(case.size)),
    )
    made = build(config, seed=0)
    if case.what == "inference":
        optimise_for_inference(made)  # as `spnas predict` and `spnas evaluate` do
    return made.to(case.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def infer(case: Case, detector: nn.Module, batch_of: BatchOf, *, turn: int) -> Pass:
    """Find objects in the batch of a turn: making it, the network, and what follows it until boxes are in RAM."""
    began = _now(case)
    batch = batch_of(turn)
    with torch.inference_mode(), torch.autocast(case.device, torch.bfloat16, enabled=case.precision == "bf16"):
        images = batch.images.to(case.device, memory_format=torch.channels_last)
        found = detector.detect(images, batch.sizes.to(case.device))  # type: ignore[operator]
        [column.cpu() for column in found]
    return _since(began, case)


def learn(case: Case, detector: nn.Module, batch_of: BatchOf, *, turn: int) -> Pass:
    """Take a step of training as `spnas train` does, making its batch included, after one that sets up."""
    began = took = _now(case)

    def make(step: int) -> Batch:
        nonlocal began
        began = _now(case)
        return batch_of(2 * turn + step)

    def done(_step: int, _terms: dict[str, float]) -> None:
        nonlocal took
        took = _since(began, case)

    kept = msgspec.structs.replace(
        TRAINING[case.preset], rate=RATE, batch_size=case.batch_size, precision=case.precision
    )
    train(detector, make, kept, steps=2, key=TrainKey(0, 0), on_step=done)
    return took


PASS = {"inference": infer, "training": learn}


def measure(
    cases: Sequence[Case],
    batches: Sequence[BatchOf],
    *,
    seconds: float,
    memory: bool = True,
    told: ToldOf | None = None,
) -> list[Measured]:
    """Time every case for about so many seconds, at least five passes, and return what came of each.

    Args:
      batches: of every case, the batch of a turn; what making one takes is counted.
      memory: whether peaks are measured, which for a CPU takes a new process a case.
      told: how many passes are done, and of how many at least.
    """
    peaks = [peak_mib(case) if memory and case.device == "cpu" else None for case in cases]
    detectors = [detector_of(case) for case in cases]
    passes: list[list[Pass]] = [[] for _ in cases]
    for i, (case, batch_of) in enumerate(zip(cases, batches, strict=True)):
        if case.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        PASS[case.what](case, detectors[i], batch_of, turn=0)
        if case.device == "cuda" and memory:
            peaks[i] = _beyond_others(detectors, i)
    for turn in range(1, MOST_TURNS + 1):
        due = [i for i, p in enumerate(passes) if turn <= LEAST_TURNS or sum(one.wall for one in p) < seconds]
        if not due:
            break
        for i in due:
            passes[i].append(PASS[cases[i].what](cases[i], detectors[i], batches[i], turn=turn))
            if told:
                told(sum(map(len, passes)), LEAST_TURNS * len(cases))
    return [summed_up(case, p, peak) for case, p, peak in zip(cases, passes, peaks, strict=True)]


def summed_up(case: Case, passes: Sequence[Pass], peak: float | None) -> Measured:
    """Return the quartiles of rates, and the rest."""
    wall = np.array([one.wall for one in passes])
    rates = np.quantile(case.batch_size / wall, (0.25, 0.5, 0.75)).tolist()
    p50, p95 = (1000 * np.quantile(wall, (0.5, 0.95))).tolist()
    return Measured(
        case=case,
        rate=Quartiles(*rates),
        p50_ms=p50,
        p95_ms=p95,
        peak_mib=peak,
        repeats=len(passes),
        working=sum(one.work for one in passes) / max(float(wall.sum()), 1e-9),
    )


def _beyond_others(detectors: Sequence[nn.Module], mine: int) -> float:
    """Return the MiB that a pass took on the GPU, but for weights of the other detectors that wait there."""
    others = (v for i, d in enumerate(detectors) if i != mine for v in d.state_dict().values() if v.is_cuda)
    return float(torch.cuda.max_memory_allocated() - sum(v.nbytes for v in others)) / 2**20


def _now(case: Case) -> Pass:
    if case.device == "cuda":
        torch.cuda.synchronize()
    return Pass(time.perf_counter(), time.process_time())


def _since(began: Pass, case: Case) -> Pass:
    now = _now(case)
    return Pass(now.wall - began.wall, now.work - began.work)
