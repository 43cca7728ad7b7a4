"""How fast detectors are, and what memory they take: in turns, so that drift hits all of them alike."""

from typing import Literal

import msgspec

What = Literal["inference", "training"]
Precision = Literal["fp32", "bf16"]
Device = Literal["cpu", "cuda"]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to be measured: `arch` under the name that was asked for, and the batches it gets.

    preset: of the detector's settings, small or standard.
    size: (height, width) of a batch in pixels, padding included.
    """

    arch: str
    detector: str
    preset: str
    size: tuple[int, int]
    precision: Precision
    device: Device
    what: What
    batch_size: int


class Quartiles(msgspec.Struct, frozen=True):
    """Of repeats: a quarter are below `low`, half below `median`, a quarter above `high`."""

    low: float
    median: float
    high: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a case.

    rate: pictures a second. p50_ms, p95_ms: milliseconds of a batch, from pictures to boxes, or of a step of training.
    peak_mib: of RAM beyond what Python and its libraries take, in a process of its own; of a GPU, what torch took.
    working: share of the time in which a processor worked for this process; below 1 with one thread, and on no GPU,
        the machine was shared.
    """

    case: Case
    rate: Quartiles
    p50_ms: float
    p95_ms: float
    peak_mib: float | None
    repeats: int
    working: float
