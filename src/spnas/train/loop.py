"""The training loop: a batch, its loss, a step; resumable at any moment and the same for the same key."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import msgspec
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from spnas.data.batches import Batch
from spnas.data.prefetch import prefetch
from spnas.nets.proposals import Targets
from spnas.rng import torch_seed
from spnas.train.average import Average
from spnas.train.checkpoint import device_of, load_progress, save_progress
from spnas.train.judge import Judge, forget_others, judge_averages, out_of_patience, put_best
from spnas.train.log import MetricsLog
from spnas.train.optimizer import freeze, make_optimizer, training_mode
from spnas.train.ranks import ALONE, Ranks, Rows, copy_from_first, mean, padded_alike, tell
from spnas.train.schedule import rate
from spnas.train.settings import Precision, TrainSettings

__all__ = ["Diverged", "TrainKey", "make_optimizer", "step_loss", "train"]

SECONDS_BETWEEN_CHECKPOINTS = 30.0
STEPS_BETWEEN_LINES = 10


class TrainKey(msgspec.Struct, frozen=True):
    """What a training's randomness hangs on; `id` tells its checkpoints from those of another one."""

    seed: int
    candidate: int
    id: str = ""


class Diverged(Exception):
    """The loss is not a finite number any more."""


class State(msgspec.Struct, frozen=True, eq=False):
    """All that changes with every step; `module` puts out the loss of `detector`, here or with other processes."""

    detector: nn.Module
    module: nn.Module
    optimizer: Optimizer
    average: Average
    scaler: GradScaler | None


class LossOf(nn.Module):
    """A detector whose forward pass is its loss, as DDP wants it."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor, targets: Targets, sizes: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of the loss of images (N, 3, H, W)."""
        terms: dict[str, Tensor] = self.detector.loss(images, targets, sizes, rng)  # type: ignore[operator]
        return terms


def step_loss(
    detector: nn.Module,
    batch: Batch,
    rng: torch.Generator,
    precision: Precision,
    *,
    module: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Return the loss terms of one batch on the device of `detector`; `module` puts them out in its stead."""
    device = device_of(detector)
    images = batch.images.to(device, memory_format=torch.channels_last)
    targets = Targets(batch.boxes.to(device), batch.labels.to(device), batch.ignore.to(device))
    lower = torch.float16 if precision == "fp16" else torch.bfloat16
    with torch.autocast(device.type, lower, enabled=precision != "fp32"):
        terms: dict[str, Tensor] = (module or LossOf(detector))(images, targets, batch.sizes.to(device), rng)
    return terms


def train(
    detector: nn.Module,
    batch_of: Callable[[int], Batch],
    settings: TrainSettings,
    *,
    steps: int,
    key: TrainKey,
    checkpoint: Path | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
    until: int | None = None,
    ranks: Ranks = ALONE,
    ahead: int = 0,
    log: MetricsLog | None = None,
    judge: Judge | None = None,
    checkpoint_seconds: float | None = None,
) -> None:
    """Train `detector` in place for `steps`; at the end it holds the averaged weights.

    Args:
      batch_of: the batch of a step; with `ranks`, this process's rows of it.
      checkpoint: a file to go on from, if it is there and of the same key, and to write now and then.
      on_step: told every 10th step, the last one and those before an evaluation, with the loss terms.
      until: stop after so many of the `steps`, whose schedule it is, with the checkpoint written; a later call goes on
        from there as if none had stopped. A checkpoint that is further already is left as it is.
      ahead: batches that a thread makes in advance.
      log, judge: to be given together, the log by the first process alone: evaluations are noted, end a training that
        has run out of
        patience, and with `settings.best_by` the best weights are what `detector` holds at the end.

    Raises: Diverged when the loss stops being finite.
    """
    state = _begin(detector, settings, ranks)
    done = _go_on(state, checkpoint, key, log)
    stop = steps if until is None else min(until, steps)
    over = done < stop and _over(judge, log, settings, ranks)
    pause = SECONDS_BETWEEN_CHECKPOINTS if checkpoint_seconds is None else checkpoint_seconds
    saved_at = time.monotonic()
    with _batches(batch_of, range(done, done if over else stop), ahead) as batches:
        for batch in batches:
            done += 1
            terms = _take_step(state, batch, settings, step=done - 1, steps=steps, key=key, ranks=ranks)
            judged = judge is not None and done in judge.at
            if done % STEPS_BETWEEN_LINES == 0 or done == stop or judged:
                shown = mean(terms, ranks)
                if log:
                    log.trained(done, rate=state.optimizer.param_groups[0]["lr"], terms=shown)
                if on_step:
                    on_step(done, shown)
            if judge and judged:
                if log:
                    judge_averages(detector, state.average, judge, log, settings=settings, step=done)
                over = _over(judge, log, settings, ranks)
            part_over = until is not None and done == stop
            if checkpoint and ranks.first and (judged or part_over or time.monotonic() - saved_at > pause):
                _save(state, checkpoint, done, key, log)
                saved_at = time.monotonic()
                if judge and log:
                    forget_others(judge, log, settings)
            if over:
                break
    state.average.give(detector)
    if judge and log and settings.best_by and (over or done == steps):
        put_best(detector, judge, log, settings.best_by)
    copy_from_first(list(detector.state_dict().values()), ranks)
    detector.eval()


def _begin(detector: nn.Module, settings: TrainSettings, ranks: Ranks) -> State:
    """Set a detector up for training."""
    detector.to(memory_format=torch.channels_last)
    if settings.norm == "sync" and ranks.count > 1:
        nn.SyncBatchNorm.convert_sync_batchnorm(detector)  # type: ignore[no-untyped-call]
    freeze(detector, settings)
    training_mode(detector, settings)
    module: nn.Module = LossOf(detector)
    return State(
        detector=detector,
        module=module if ranks.count == 1 else DistributedDataParallel(module),
        optimizer=make_optimizer(detector, settings),
        average=Average(detector, settings.average),
        scaler=GradScaler(device_of(detector).type) if settings.precision == "fp16" else None,
    )


def _go_on(state: State, checkpoint: Path | None, key: TrainKey, log: MetricsLog | None) -> int:
    """Put everything back as the checkpoint has it, and return the steps done."""
    done = 0
    if checkpoint is not None:
        parts = (state.detector, state.optimizer, state.average)
        done = load_progress(checkpoint, *parts, key=key.id, scaler=state.scaler)
    if log:
        log.begin(done)
    return done


def _save(state: State, checkpoint: Path, step: int, key: TrainKey, log: MetricsLog | None) -> None:
    if log:
        log.sync()
    parts = (state.detector, state.optimizer, state.average)
    save_progress(checkpoint, *parts, step=step, key=key.id, scaler=state.scaler)


def _over(judge: Judge | None, log: MetricsLog | None, settings: TrainSettings, ranks: Ranks) -> bool:
    """Tell every process whether patience has run out, which the one with the log knows."""
    if judge is None or not settings.patience:
        return False
    mine = b"over" if log is not None and out_of_patience(log, settings) else b""
    return tell(mine, ranks) == b"over"


@contextlib.contextmanager
def _batches(batch_of: Callable[[int], Batch], steps: range, ahead: int) -> Iterator[Iterable[Batch]]:
    made = map(batch_of, steps)
    if not ahead:
        yield made
        return
    with contextlib.closing(prefetch(made, ahead=ahead)) as batches:
        yield batches


def _take_step(
    state: State, batch: Batch, settings: TrainSettings, *, step: int, steps: int, key: TrainKey, ranks: Ranks
) -> dict[str, Tensor]:
    """Take one step of the optimiser, and return the terms of the loss."""
    share = rate(settings.schedule, step, steps, settings.warmup, drops=settings.drops)
    for group in state.optimizer.param_groups:
        group["lr"] = settings.rate * share * group["share"]
    batch = padded_alike(batch, ranks)
    terms: dict[str, Tensor] = {}
    parts = settings.accumulate
    for part in range(parts):
        with _as_part(state, batch, part, step=step, settings=settings, key=key, ranks=ranks) as (rows, rng):
            found = step_loss(state.detector, rows, rng, settings.precision, module=state.module)
            total = torch.stack(list(found.values())).sum()
            value = float(total.detach())
            if not math.isfinite(value):
                raise Diverged(f"the loss is {value} at step {step} of {steps}; its learning rate is too high for it")
            total = total / parts if parts > 1 else total
            torch.autograd.backward(state.scaler.scale(total) if state.scaler else total)
        terms = {n: terms[n] + t.detach() / parts if n in terms else t.detach() / parts for n, t in found.items()}
    if state.scaler:
        state.scaler.unscale_(state.optimizer)
    torch.nn.utils.clip_grad_norm_(state.detector.parameters(), settings.clip)
    if state.scaler:
        state.scaler.step(state.optimizer)
        state.scaler.update()
    else:
        state.optimizer.step()
    state.optimizer.zero_grad()
    state.average.update(state.detector)
    return terms


@contextlib.contextmanager
def _as_part(
    state: State, batch: Batch, part: int, *, step: int, settings: TrainSettings, key: TrainKey, ranks: Ranks
) -> Iterator[tuple[Batch, torch.Generator]]:
    """Give one part of this process's rows and the generator that draws for it what is drawn for it in the whole."""
    rng = torch.Generator().manual_seed(torch_seed(key.seed, "sample", key.candidate, 0, step))
    parts = settings.accumulate
    if parts == ranks.count == 1:
        yield batch, rng
        return
    count = len(batch.index) // parts
    first = ranks.rank * len(batch.index) + part * count
    rows = Batch(*(column[part * count : (part + 1) * count] for column in batch))
    later = isinstance(state.module, DistributedDataParallel) and part + 1 < parts  # gradients are still added up
    with contextlib.ExitStack() as stack:
        if later:
            stack.enter_context(cast(DistributedDataParallel, state.module).no_sync())
        stack.enter_context(Rows(rng, first, first + count, count=len(batch.index) * ranks.count))
        yield rows, rng
