"""`spnas bench`: pictures a second, milliseconds and memory of detectors, and the paper's table beside ours."""

import itertools
import re
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import torch

from spnas.arch.published import arch_of
from spnas.bench import Case, Device, Measured, Precision, What
from spnas.bench.measure import BatchOf, measure
from spnas.bench.paper import DETECTORS, ROWS, SIZE, PaperRow, paper_rows
from spnas.bench.pictures import write_pictures
from spnas.data.batches import Batch, Pictures, Resize, train_batch
from spnas.data.choice import DataChoice, choice_of
from spnas.data.records import Annotations
from spnas.data.transforms import FLIP_ONLY
from spnas.errors import UsageError
from spnas.nets import detectors as shelf
from spnas.nets.cost import cost
from spnas.nets.settings import PRESETS
from spnas.nets.timing import this_place
from spnas.shelf import nearest, take
from spnas.talk import Part, Talk, duration
from spnas.tasks.source import open_for
from spnas.train.settings import is_one_value

Size = tuple[int, int]  # height and width
BATCH: dict[What, int] = {"inference": 1, "training": 2}
LEAST_PICTURES, ON_DISK = 8, 1.25  # how many are generated, and how much larger than the network's input
SHARED = 0.9  # a processor that worked for us less than this share of the time worked for others
GMACS_A_SECOND = {"cpu": 30.0, "cuda": 10_000.0}  # of one processor or GPU, for a rough word on how long it takes
HEAD_GMACS = 150.0  # pyramid, proposals and regions at 800x1333, about
FEWEST_PASSES = 8


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured where; `paper` has the rows of the paper's table 1, at `size` (height, width), if asked for."""

    place: str
    torch: str
    network_only: bool
    measured: list[Measured]
    paper: list[PaperRow] = []
    size: Size | None = None


def bench(
    *,
    arch: Sequence[str] = (),
    detector: Sequence[str] = ("faster_rcnn",),
    image_size: Sequence[str] = (),
    precision: Sequence[str] = ("fp32",),
    device: str | None = None,
    batch_size: int | None = None,
    what: str = "both",
    recipe: str | None = None,
    network_only: bool = False,
    seconds: float = 10.0,
    paper: bool = False,
    memory: bool = True,
    data: str | Path | DataChoice | None = None,
    talk: Talk | None = None,
) -> BenchResult:
    """Measure every combination of backbone, detector, size and precision, in turns.

    Args:
      arch: names, notations or codes; ResNet-50 on a GPU, else the small net that searches begin with.
      image_size: "320" for the longer side, or "800x1333" for a shorter and a longer side.
      batch_size: pictures a pass; 1 in inference and 2 in training if not given.
      what: inference, training or both.
      recipe: whose settings the detectors get: small or standard; by the device if not given.
      network_only: leave out decoding and resizing.
      seconds: about how long each combination is measured, beyond five passes.
      paper: the rows of the paper's table 1 instead of `arch` and `detector`, inference of the network only.
    Raises: UsageError for what there is not; DataError for data that cannot be used; ResourceError without memory.
    """
    talk = talk or Talk(quiet=True)
    where = _device(device)
    preset = "standard" if paper else _known(recipe or ("standard" if where == "cuda" else "small"), tuple(PRESETS))
    if paper and (arch or what == "training"):
        raise UsageError("--paper has rows of its own, in inference; give no --arch, nor --what training")
    sizes = [_size(text) for text in image_size or (("800x1333",) if preset == "standard" else ("320",))]
    if paper and (len(sizes) > 1 or len(precision) > 1):
        raise UsageError("--paper has one table; give one --image-size and one --precision")
    names = [name for name, _ in ROWS] if paper else list(arch) or _usual(preset)
    kinds = list(DETECTORS.values()) if paper else list(detector)
    precisions = [_known(p, ("fp32", "bf16")) for p in precision]
    _check(names, kinds, precisions, batch_size=batch_size, seconds=seconds)
    whats = _whats("inference" if paper else what)
    resizes = [_as_paper(size) for size in sizes] if paper else sizes
    planned = [
        Case(
            arch=name,
            detector=kind,
            preset=preset,
            size=_area_of(resize),
            precision=cast(Precision, lower),
            device=where,
            what=job,
            batch_size=batch_size or BATCH[job],
        )
        for resize, job, name, kind, lower in itertools.product(resizes, whats, names, kinds, precisions)
    ]
    _warn(planned, seconds, talk)
    with tempfile.TemporaryDirectory(prefix="spnas-bench-") as folder:
        opened = None if data is None else open_for(choice_of(data), talk).train
        made: dict[tuple[Size, int], BatchOf] = {}
        for number, resize in enumerate(resizes):
            pictures = opened or _generated(Path(folder) / str(number), resize, max(c.batch_size for c in planned))
            for count in {c.batch_size for c in planned}:
                made[_area_of(resize), count] = _batches(pictures, resize, count, kept=network_only or paper)
        batches = [made[case.size, case.batch_size] for case in planned]
        real = {key: cast(Size, tuple(batch_of(0).images.shape[2:])) for key, batch_of in made.items()}
        cases = [msgspec.structs.replace(case, size=real[case.size, case.batch_size]) for case in planned]
        _refuse_one_value(cases)
        with talk.progress():
            found = measure(
                cases,
                batches,
                seconds=seconds,
                memory=memory,
                told=lambda done, of: talk.show([Part("passes", done, max(done, of))]),
            )
    rates = {(one.case.detector, one.case.arch): one.rate.median for one in found} if paper else {}
    return BenchResult(
        place=str(this_place(where, ", ".join(precisions))),
        torch=str(torch.__version__),
        network_only=network_only or paper,
        measured=found,
        paper=paper_rows(rates) if paper else [],
        size=found[0].case.size if paper else None,
    )


def _device(name: str | None) -> Device:
    found = _known(name or ("cuda" if torch.cuda.is_available() else "cpu"), ("cpu", "cuda"))
    if found == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU here; choose cpu")
    return cast(Device, found)


def _known(name: str, names: tuple[str, ...]) -> str:
    if name not in names:
        raise UsageError(f"{name!r} cannot be measured; {nearest(name, names)}")
    return name


def _whats(name: str) -> tuple[What, ...]:
    _known(name, ("inference", "training", "both"))
    return ("inference", "training") if name == "both" else (cast(What, name),)


def _usual(preset: str) -> list[str]:
    return ["resnet50"] if preset == "standard" else ["basic: 16x2 / 32x2 / 64x2 / 128x2"]


def _check(
    names: Sequence[str], kinds: Sequence[str], precisions: Sequence[str], *, batch_size: int | None, seconds: float
) -> None:
    """Refuse what cannot be measured, before anything is."""
    for option, values in (("detector", kinds), ("precision", precisions)):
        if not values:
            raise UsageError(f"--{option}: name at least one")
    for name in names:
        arch_of(name)
    for kind in kinds:
        take(shelf, kind)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: give at least 1")
    if not 0 < seconds <= 86400:
        raise UsageError(f"--seconds {seconds:g}: give more than 0, and at most a day")


def _refuse_one_value(cases: Sequence[Case]) -> None:
    """Refuse to train on a single picture that ends as a single pixel."""
    for case in cases:
        stages = len(arch_of(case.arch).stages)
        if case.what == "training" and is_one_value(case.batch_size, side=max(case.size), stages=stages):
            raise UsageError(
                f"--batch-size 1: one picture of {max(case.size)} px ends as one pixel after {stages} stages, too "
                "little for BN in training; give a larger --image-size or --batch-size, or --what inference"
            )


def _size(text: str) -> Resize:
    match = re.fullmatch(r"(?:(\d{1,4})x)?(\d{1,4})", text.strip())
    sides = [int(side) for side in match.groups() if side] if match else []
    if not sides or not all(32 <= side <= 4096 for side in sides):
        raise UsageError(
            f"--image-size {text}: give the longer side, such as 320, or both, such as 800x1333; 32 to 4096"
        )
    return Resize(min(sides) if len(sides) == 2 else None, max(sides))


def _as_paper(resize: Resize) -> Resize:
    """Give a single side the shape of the paper's pictures."""
    return resize if resize.short is not None else Resize(max(32, round(resize.long * SIZE[0] / SIZE[1])), resize.long)


def _area_of(resize: Resize) -> Size:
    """Return the height and width of a picture that fills `resize` in both directions."""
    return resize.short or resize.long, resize.long


def _generated(folder: Path, resize: Resize, batch: int) -> Annotations:
    """Draw pictures of this shape, somewhat larger."""
    height, width = _area_of(resize)
    return write_pictures(folder, (round(ON_DISK * height), round(ON_DISK * width)), max(LEAST_PICTURES, batch))


def _batches(annotations: Annotations, resize: Resize, count: int, *, kept: bool) -> BatchOf:
    """Return what makes the batch of a turn: from files each time, or once and for all."""
    pictures = Pictures(annotations, resize, cache_bytes=0)
    make = partial(train_batch, pictures, batch_size=count, seed=0, augment=None if kept else _NOTHING)
    if not kept:
        return lambda turn: make(step=turn)
    ready: list[Batch] = [make(step=step) for step in range(max(1, min(LEAST_PICTURES, len(pictures)) // count))]
    return lambda turn: ready[turn % len(ready)]


_NOTHING = msgspec.structs.replace(FLIP_ONLY, flip=0.0)


def _warn(cases: Sequence[Case], seconds: float, talk: Talk) -> None:
    """Say how long it will take, roughly, where that is long."""
    total = 0.0
    for case in cases:
        height, width = case.size
        share = height * width / (SIZE[0] * SIZE[1])
        work = cost(arch_of(case.arch), height, width).gmacs + (HEAD_GMACS * share if case.preset == "standard" else 0)
        once = work * case.batch_size * (3 if case.what == "training" else 1) / GMACS_A_SECOND[case.device]
        total += max(seconds, FEWEST_PASSES * once) + (10 if case.device == "cpu" else 1)
    talk.say(f"{len(cases)} to be measured, about {duration(total)} or more on a shared machine")
    if total > 600 and cases[0].device == "cpu":
        talk.say("warning: that is long; give a smaller --image-size, fewer --seconds, or a GPU with --device cuda")


def describe(result: BenchResult) -> list[str]:
    """Return what a person reads."""
    ours = "the network and what follows it" if result.network_only else "from files to boxes"
    lines = [f"{result.place}; torch {result.torch}; {ours}"]
    lines += _paper_lines(result) if result.paper else _lines(result.measured)
    alone = min(m.working for m in result.measured)
    if alone < SHARED and result.measured[0].case.device == "cpu":
        lines.append(
            f"note: the processor worked for this for {alone:.0%} of the time; a quiet machine gives higher rates"
        )
    return lines


def _lines(measured: list[Measured]) -> list[str]:
    width = max(len(_name(m.case)) for m in measured)
    lines = [
        f"{'':{width}} {'input':>9} {'batch':>5}  {'pictures/s (quartiles)':>26} "
        f"{'p50 ms':>8} {'p95 ms':>8} {'MiB':>6} n"
    ]
    for m in measured:
        size = f"{m.case.size[1]}x{m.case.size[0]}"
        rate = f"{m.rate.median:.3g} ({m.rate.low:.3g} to {m.rate.high:.3g})"
        peak = "-" if m.peak_mib is None else f"{m.peak_mib:.0f}"
        lines.append(
            f"{_name(m.case):{width}} {size:>9} {m.case.batch_size:>5}  {rate:>26} "
            f"{m.p50_ms:>8.1f} {m.p95_ms:>8.1f} {peak:>6} {m.repeats}"
        )
    return lines


def _name(case: Case) -> str:
    return f"{case.what} {case.detector} {case.precision} {case.arch}"


def _paper_lines(result: BenchResult) -> list[str]:
    assert result.size is not None
    height, width = result.size
    padded = tuple(-(-side // 32) * 32 for side in SIZE)
    other = "" if (height, width) == padded else f" (not the paper's {SIZE[0]}x{SIZE[1]}: ratios change with the size)"
    by = {(m.case.detector, m.case.arch): m for m in result.measured}
    lines = [
        f"input {height}x{width}, padding included{other}; the paper's fps are of one V100",
        f"{'detector':8} {'backbone':22} {'paper AP':>8} {'paper fps':>9} {'ratio':>6}  "
        f"{'ours fps':>8} {'ratio':>6} {'MiB':>6}",
    ]
    for row in result.paper:
        peak = by[DETECTORS[row.detector], row.arch].peak_mib
        lines.append(
            f"{row.detector:8} {row.arch:22} {row.ap:>8.1f} {row.printed_fps:>9.1f} {row.printed_ratio:>6.2f}  "
            f"{row.fps:>8.3g} {row.ratio:>6.2f} {'-' if peak is None else f'{peak:.0f}':>6}"
        )
    return [*lines, "ratio: to resnet101 with the same detector; XB with its published copies; AP is the paper's"]
