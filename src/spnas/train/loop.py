"""The training loop: a batch, its loss, a step; resumable at any moment and the same for the same key."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from spnas.data.batches import Batch
from spnas.nets.proposals import Targets
from spnas.rng import torch_seed
from spnas.train.average import Average
from spnas.train.checkpoint import device_of, load_progress, save_progress
from spnas.train.schedule import rate
from spnas.train.settings import TrainSettings

SECONDS_BETWEEN_CHECKPOINTS = 30.0


class TrainKey(msgspec.Struct, frozen=True):
    """What a training's randomness hangs on; `id` tells its checkpoints from those of another one."""

    seed: int
    candidate: int
    id: str = ""


class Diverged(Exception):
    """The loss is not a finite number any more."""


def make_optimizer(module: nn.Module, settings: TrainSettings) -> Optimizer:
    """Make the optimiser; biases and norms are not decayed."""
    decayed = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return AdamW(groups, lr=settings.rate, fused=True)
    return SGD(groups, lr=settings.rate, momentum=settings.momentum, fused=True)


def step_loss(detector: nn.Module, batch: Batch, rng: torch.Generator, precision: str) -> dict[str, Tensor]:
    """Return the loss terms of one batch on the device of `detector`."""
    device = device_of(detector)
    images = batch.images.to(device, memory_format=torch.channels_last)
    targets = Targets(batch.boxes.to(device), batch.labels.to(device), batch.ignore.to(device))
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        terms: dict[str, Tensor] = detector.loss(images, targets, batch.sizes.to(device), rng)  # type: ignore[operator]
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
) -> None:
    """Train `detector` in place for `steps`; at the end it holds the averaged weights.

    batch_of: the batch of a step. checkpoint: a file to go on from, if it is there and of the same key, and to write
    now and then. on_step: told every 10th step and the last one, with the loss terms. until: stop after so many of
    the `steps`, whose schedule it is, with the checkpoint written; a later call goes on from there as if none had
    stopped. A checkpoint that is further already is left as it is.

    Raises: Diverged when the loss stops being finite.
    """
    detector.to(memory_format=torch.channels_last)
    detector.train()
    optimizer = make_optimizer(detector, settings)
    average = Average(detector, settings.average)
    done = load_progress(checkpoint, detector, optimizer, average, key=key.id) if checkpoint else 0
    saved_at = time.monotonic()
    stop = steps if until is None else min(until, steps)
    for step in range(done, stop):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * rate(settings.schedule, step, steps, settings.warmup)
        rng = torch.Generator().manual_seed(torch_seed(key.seed, "sample", key.candidate, 0, step))
        terms = step_loss(detector, batch_of(step), rng, settings.precision)
        total = torch.stack(list(terms.values())).sum()
        value = float(total.detach())
        if not math.isfinite(value):
            raise Diverged(f"the loss is {value} at step {step} of {steps}; its learning rate is too high for it")
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(detector.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad()
        average.update(detector)
        if on_step and (step % 10 == 9 or step + 1 == stop):
            on_step(step + 1, {name: float(term.detach()) for name, term in terms.items()})
        if checkpoint and time.monotonic() - saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            save_progress(checkpoint, detector, optimizer, average, step=step + 1, key=key.id)
            saved_at = time.monotonic()
    if checkpoint and until is not None and done < stop:
        save_progress(checkpoint, detector, optimizer, average, step=stop, key=key.id)
    average.give(detector)
    detector.eval()
