"""Annotations -> batches of tensors; a training batch is a pure function of its key."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from spnas.data.pictures import SAFE_FORMATS, read_picture
from spnas.data.records import NOT_A_TARGET, Annotations
from spnas.data.transforms import (
    MILD,
    Augment,
    Resize,
    Sample,
    colour_matrix,
    vary,
    write_normalised,
    zoom,
)
from spnas.errors import DataError
from spnas.rng import rng

__all__ = ["Batch", "Pictures", "Resize", "eval_batches", "train_batch"]

STRIDE = 32  # heights and widths of a batch are multiples of it
Key = TypeVar("Key")
Made = TypeVar("Made")
READ_TRIES = 3
RETRY_SECONDS = 0.05


class Batch(NamedTuple):
    """Pictures of one step, zero-padded at the right and bottom.

    Shapes, with N pictures and G >= 1 the most boxes of any of them:
      images (N, 3, H, W) float32, normalised as for ImageNet
      boxes (N, G, 4) float32, xyxy in input pixels; zeros where there is none
      labels (N, G) int64, -1 where there is no box
      ignore (N, G) bool, boxes that are neither hit nor miss
      index (N,) int64, the picture's place in its Annotations
      scale (N, 2) float32, (x, y) input pixels per original pixel
      sizes (N, 2) int64, (h, w) of the part that is not padding
    """

    images: torch.Tensor
    boxes: torch.Tensor
    labels: torch.Tensor
    ignore: torch.Tensor
    index: torch.Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    scale: torch.Tensor
    sizes: torch.Tensor


class Ready(NamedTuple):
    """A picture on its way into a batch; `colours` is the (3, 4) matrix of its change of colours."""

    index: int  # type: ignore[assignment]
    sample: Sample
    colours: NDArray[np.float32] | None


class Pictures:
    """Reads and resizes the pictures of `annotations`, and keeps as many as `cache_bytes` allow.

    With `threads`, the pictures of a batch are made at the same time; the batch is the same.
    """

    def __init__(
        self,
        annotations: Annotations,
        resize: Resize,
        *,
        cache_bytes: int = 1 << 30,
        formats: tuple[str, ...] = SAFE_FORMATS,
        threads: int = 0,
    ) -> None:
        self.annotations = annotations
        self.resize = resize
        self.formats = formats
        self._room = cache_bytes
        self._cache: dict[int, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures") if threads else None

    def __len__(self) -> int:
        return len(self.annotations)

    def map(self, make: Callable[[Key], Made], keys: Sequence[Key]) -> list[Made]:
        """Return `make` of every key, by several threads if there are any."""
        return list(map(make, keys) if self._pool is None else self._pool.map(make, keys))

    def close(self) -> None:
        """Let go of the threads and of the kept pictures."""
        if self._pool is not None:
            self._pool.shutdown()
        self._cache.clear()

    def sample(self, index: int) -> Sample:
        """Return one picture, resized, with its boxes.

        Raises: DataError naming the file when it still cannot be read at the third try.
        """
        pixels = self._cache.get(index)
        if pixels is None:
            pixels = self._load(index)
        known = self.annotations
        rows = known.rows(index)
        width, height = (int(v) for v in known.sizes[index])
        scale = (pixels.shape[1] / width, pixels.shape[0] / height)
        return Sample(
            pixels,
            known.boxes[rows] * np.array(scale * 2),
            known.labels[rows],
            (known.flags[rows] & NOT_A_TARGET) != 0,
            scale,
        )

    def _load(self, index: int) -> NDArray[np.uint8]:
        """Decode and resize one picture, and keep it while there is room."""
        path = self.annotations.path(index)
        known = tuple(self.annotations.sizes[index].tolist())

        def target(width: int, height: int) -> tuple[int, int]:
            if (width, height) != known:
                raise DataError(
                    path,
                    "",
                    "picture-changed",
                    f"is now {width} x {height}, it was {known[0]} x {known[1]} when opened",
                    "restore the picture, or start a new study",
                )
            return self.resize.target(width, height)

        for attempt in range(READ_TRIES):
            try:
                small = read_picture(path, formats=self.formats, to=target)
                break
            except DataError:
                if attempt == READ_TRIES - 1:
                    raise
                time.sleep(RETRY_SECONDS)  # a network disk may need a moment
        with self._lock:
            if index not in self._cache and small.nbytes <= self._room:
                self._room -= small.nbytes
                self._cache[index] = small
        return small


def train_batch(
    pictures: Pictures,
    *,
    batch_size: int,
    step: int,
    seed: int,
    candidate: int = 0,
    augment: Augment | None = MILD,
    sides: tuple[int, ...] = (),
    part: tuple[int, int] = (0, 1),
) -> Batch:
    """Return the batch of this step: the same for the same arguments, whatever was asked before.

    Every epoch visits each picture once, in an order of its own; a batch may reach into the next epoch.

    sides: in pixels, one drawn for each step; of the short side where the rule has one, else of the long one.
    part: (i, n) for the i-th of n equal parts of the batch, padded for itself.
    """
    drawn = _resize_of_step(pictures.resize, augment, sides, step=step, seed=seed, candidate=candidate)

    def make(position: int) -> Ready:
        epoch, place = divmod(position, len(pictures))
        index = int(_order(seed, candidate, epoch, len(pictures))[place])
        sample = pictures.sample(index)
        width, height = (int(v) for v in pictures.annotations.sizes[index])
        frame = drawn.target(width, height)
        if augment is None:
            same = frame == sample.pixels.shape[1::-1]
            return Ready(index, sample if same else zoom(sample, 1.0, place=(0.0, 0.0), frame=frame), None)
        draw = rng(seed, "augment", candidate, epoch, index)
        return Ready(index, vary(sample, augment, rng=draw, frame=frame), colour_matrix(augment, draw))

    count, first = batch_size // part[1], step * batch_size
    return _collate(pictures.map(make, range(first + part[0] * count, first + (part[0] + 1) * count)))


def _resize_of_step(
    rule: Resize, augment: Augment | None, sides: tuple[int, ...], *, step: int, seed: int, candidate: int
) -> Resize:
    """Return how the pictures of one step are resized: with another side each time, if there is one to be drawn."""
    if sides:
        side = sides[int(rng(seed, "side", candidate, 0, step).integers(len(sides)))]
        return Resize(None, side) if rule.short is None else Resize(side, rule.long)
    if rule.short is None or augment is None:
        return rule
    low, high = augment.short
    share = low + (high - low) * float(rng(seed, "short", candidate, 0, step).random())
    return Resize(round(rule.short * share), rule.long)


def eval_batches(pictures: Pictures, *, batch_size: int) -> Iterator[Batch]:
    """Yield every picture once, in order, as it is."""
    for start in range(0, len(pictures), batch_size):
        indices = range(start, min(start + batch_size, len(pictures)))
        yield _collate(pictures.map(lambda i: Ready(i, pictures.sample(i), None), indices))


@lru_cache(maxsize=8)
def _order(seed: int, candidate: int, epoch: int, count: int) -> NDArray[np.int64]:
    return rng(seed, "order", candidate, epoch).permutation(count)


def _collate(ready: list[Ready]) -> Batch:
    """Put pictures of different sizes into one padded batch."""
    samples = [r.sample for r in ready]
    count = len(samples)
    most = max(1, *(len(s.labels) for s in samples))
    height, width = (-(-max(s.pixels.shape[axis] for s in samples) // STRIDE) * STRIDE for axis in (0, 1))
    images = torch.zeros(count, 3, height, width)
    boxes = np.zeros((count, most, 4), np.float32)
    labels = np.full((count, most), -1, np.int64)
    ignore = np.zeros((count, most), np.bool_)
    for i, (_, sample, colours) in enumerate(ready):
        h, w = sample.pixels.shape[:2]
        write_normalised(sample.pixels, images[i, :, :h, :w], colours=colours)
        n = len(sample.labels)
        boxes[i, :n], labels[i, :n], ignore[i, :n] = sample.boxes, sample.labels, sample.ignore
    return Batch(
        images=images,
        boxes=torch.from_numpy(boxes),
        labels=torch.from_numpy(labels),
        ignore=torch.from_numpy(ignore),
        index=torch.tensor([r.index for r in ready], dtype=torch.int64),
        scale=torch.tensor([s.scale for s in samples], dtype=torch.float32),
        sizes=torch.tensor([s.pixels.shape[:2] for s in samples], dtype=torch.int64),
    )
