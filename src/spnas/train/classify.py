"""Training and judging a classifier: the loop of detectors, on squares with one label each."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from spnas.data.batches import Batch
from spnas.data.prefetch import prefetch
from spnas.data.squares import Squares, train_squares
from spnas.data.transforms import MILD
from spnas.nets.classifier import PictureClassifier
from spnas.train.checkpoint import device_of
from spnas.train.loop import TrainKey, train
from spnas.train.settings import TrainSettings

CLASSIFY = TrainSettings(rate=4e-3, batch_size=64)
TOP = 5


def train_classifier(
    classifier: PictureClassifier,
    squares: Squares,
    settings: TrainSettings,
    *,
    steps: int,
    key: TrainKey,
    checkpoint: Path | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Train `classifier` in place for `steps`; see `train.loop.train`, which does it, for the rest.

    The next batch is made while the present one is learned from.

    Raises: Diverged when the loss stops being finite.
    """

    def make(step: int) -> Batch:
        return train_squares(
            squares,
            batch_size=settings.batch_size,
            step=step,
            seed=key.seed,
            candidate=key.candidate,
            augment=MILD if settings.augment else None,
        )

    made: Generator[Batch, None, None] | None = None

    def batch_of(step: int) -> Batch:
        nonlocal made
        if made is None:  # only the loop knows at which step it goes on; from there it asks for one after the other
            made = cast("Generator[Batch, None, None]", prefetch(make(later) for later in range(step, steps)))
        return next(made)

    try:
        train(classifier, batch_of, settings, steps=steps, key=key, checkpoint=checkpoint, on_step=on_step)
    finally:
        if made is not None:
            made.close()


@torch.no_grad()
def errors(
    classifier: Callable[[Tensor], Tensor], batches: Iterator[Batch], *, device: torch.device | None = None
) -> dict[str, float]:
    """Return the shares of pictures, 0..1, whose class is not the best guess, and not among the best five.

    The top-5 error is left out where there are no more than five classes: it could only be 0. Of equal scores the
    earlier class is the better guess; a score that is no number is none.

    Raises: ValueError when there is no picture.
    """
    ranks: list[Tensor] = []
    classes = 0
    for batch in batches:
        logits = classifier(batch.images.to(device) if device else batch.images).float().cpu()
        ranks.append(ranks_of(logits, batch.labels[:, 0]))
        classes = logits.shape[1]
    if not ranks:
        raise ValueError("no picture to judge on")
    rank = torch.cat(ranks)
    found = {"top1_error": float((rank >= 1).double().mean())}
    return found | ({"top5_error": float((rank >= TOP).double().mean())} if classes > TOP else {})


def ranks_of(logits: Tensor, labels: Tensor) -> Tensor:
    """(N, C) and (N,) -> (N,): how many classes are better guesses than the right one."""
    right = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1]) < labels[:, None]
    better = (logits > right) | ((logits == right) & earlier)
    known = torch.isfinite(logits).all(dim=1)
    return better.sum(1).masked_fill(~known, logits.shape[1])


def judge(classifier: PictureClassifier, batches: Iterator[Batch]) -> dict[str, float]:
    """Return the `errors` of a classifier, in evaluation mode, on the device where it lies."""
    classifier.eval()
    return errors(classifier, batches, device=device_of(classifier))
