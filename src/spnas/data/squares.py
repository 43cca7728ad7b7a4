"""Labelled pictures -> batches of squares; a training batch is a pure function of its key.

Batches are those of detection, with one label a picture and no boxes, so that one loop trains both.
"""

import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from spnas.data.batches import Batch
from spnas.data.labelled import Labelled, LabelledSet
from spnas.data.pictures import SAFE_FORMATS, read_picture, resize
from spnas.data.transforms import FILL, MILD, Augment, colour_matrix, write_normalised
from spnas.errors import DataError
from spnas.rng import rng as keyed_rng

FINER = 1.25  # pictures are kept so many times finer than they are shown, if they are: crops of them are enlarged
AREA = (0.35, 1.0)  # of the picture that a training crop shows
RATIO = (3 / 4, 4 / 3)  # width by height of a training crop, before it becomes a square
Frame = tuple[float, float, float, float]  # x1, y1, x2, y2


class Squares:
    """Reads the pictures of `labelled` once, and keeps them as small as `side` pixels allow, within `cache_bytes`."""

    def __init__(self, labelled: Labelled, side: int, *, cache_bytes: int = 1 << 30) -> None:
        self.labelled, self.side = labelled, side
        self._room = cache_bytes
        self._cache: dict[int, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.labelled)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Return one picture (H, W, 3), its shorter side at most 1.25 times `side`.

        Raises: DataError naming a file that cannot be read, or is another one than before.
        """
        found = self._cache.get(index)
        return self._load(index) if found is None else found

    def _load(self, index: int) -> NDArray[np.uint8]:
        """Decode one file, and keep all that is cut out of it while there is room."""
        known = self.labelled
        whole = read_picture(known.path(index), formats=SAFE_FORMATS)
        width, height = (int(v) for v in known.sizes[index])
        if whole.shape[:2] != (height, width):
            raise DataError(
                known.path(index),
                "",
                "picture-changed",
                f"is now {whole.shape[1]} x {whole.shape[0]}, it was {width} x {height} when opened",
                "restore the picture, or begin anew",
            )
        if known.cuts is None:
            return self._keep(index, whole)
        for other in _parts(known.files)[known.files[index]]:
            if other != index and other not in self._cache:
                self._keep(other, cut(whole, known.cuts[other]))
                if other not in self._cache:
                    break  # there is no room left
        return self._keep(index, cut(whole, known.cuts[index]))

    def _keep(self, index: int, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = pixels.shape[:2]
        shrink = min(1.0, FINER * self.side / min(width, height))
        small = resize(pixels, (max(1, round(width * shrink)), max(1, round(height * shrink))))
        with self._lock:
            if index not in self._cache and small.nbytes <= self._room:
                self._room -= small.nbytes
                self._cache[index] = small
        return small


class SquareSet(NamedTuple):
    """What a classifier learns from and is judged on, of one size; `fingerprint` tells it from others."""

    train: Squares
    val: Squares
    fingerprint: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.train.labelled.classes


def squares_of(data: LabelledSet, side: int) -> SquareSet:
    """Make squares of `side` pixels of both parts of `data`."""
    return SquareSet(Squares(data.train, side), Squares(data.val, side), data.fingerprint)


def cut(pixels: NDArray[np.uint8], window: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) within `window` (x1, y1, x2, y2); mean-coloured where there are none."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = (int(v) for v in window)
    out = np.empty((y2 - y1, x2 - x1, 3), np.uint8)
    out[:] = FILL
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    out[top - y1 : bottom - y1, left - x1 : right - x1] = pixels[top:bottom, left:right]
    return out


def middle(width: int, height: int) -> Frame:
    """Return the largest square in the middle of a picture.

    We differ from the 224 of 256 pixels of ImageNet's protocol: nothing is cut off a square picture.
    """
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def random_frame(width: int, height: int, *, rng: np.random.Generator) -> Frame:
    """Return a random part of a picture: .35 to 1 of its area, 3:4 to 4:3.

    Source: Szegedy et al., Going deeper with convolutions, CVPR 2015. We differ: what does not fit is cut back, not
    drawn again, so that there are as many draws whatever the picture.
    """
    area, ratio, x, y = rng.random(4)
    wanted = width * height * (AREA[0] + (AREA[1] - AREA[0]) * area)
    ratio = RATIO[0] * (RATIO[1] / RATIO[0]) ** ratio
    w, h = min(width, (wanted * ratio) ** 0.5), min(height, (wanted / ratio) ** 0.5)
    left, top = (width - w) * x, (height - h) * y
    return left, top, min(width, left + w), min(height, top + h)


def train_squares(
    squares: Squares,
    *,
    batch_size: int,
    step: int,
    seed: int,
    candidate: int = 0,
    augment: Augment | None = MILD,
) -> Batch:
    """Return the batch of this step: the same for the same arguments, whatever was asked before.

    Every epoch visits each picture once, in an order of its own; a batch may reach into the next epoch. Of `augment`,
    the flip and the colours count.
    """
    images = torch.empty(batch_size, 3, squares.side, squares.side)
    indices = []
    for row, position in enumerate(range(step * batch_size, (step + 1) * batch_size)):
        epoch, place = divmod(position, len(squares))
        index = int(_order(seed, candidate, epoch, len(squares))[place])
        indices.append(index)
        pixels = squares.pixels(index)
        height, width = pixels.shape[:2]
        if augment is None:
            write_normalised(_shown(pixels, middle(width, height), squares.side), images[row])
            continue
        draw = keyed_rng(seed, "augment", candidate, epoch, index)
        shown = _shown(pixels, random_frame(width, height, rng=draw), squares.side)
        if draw.random() < augment.flip:
            shown = shown[:, ::-1]
        write_normalised(shown, images[row], colours=colour_matrix(augment, draw))
    return _batch(squares, images, indices)


def eval_squares(squares: Squares, *, batch_size: int) -> Iterator[Batch]:
    """Yield every picture once, in order, its middle as it is."""
    for start in range(0, len(squares), batch_size):
        indices = list(range(start, min(start + batch_size, len(squares))))
        images = torch.empty(len(indices), 3, squares.side, squares.side)
        for row, index in enumerate(indices):
            pixels = squares.pixels(index)
            write_normalised(_shown(pixels, middle(*pixels.shape[1::-1]), squares.side), images[row])
        yield _batch(squares, images, indices)


def _shown(pixels: NDArray[np.uint8], frame: Frame, side: int) -> NDArray[np.uint8]:
    """Return the part `frame` as a square of `side` pixels."""
    height, width = pixels.shape[:2]
    if frame == (0, 0, width, height) and width == height == side:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, frame))


def _batch(squares: Squares, images: torch.Tensor, indices: list[int]) -> Batch:
    count = len(indices)
    return Batch(
        images=images,
        boxes=torch.zeros(count, 1, 4),
        labels=torch.from_numpy(squares.labelled.labels[indices])[:, None],
        ignore=torch.zeros(count, 1, dtype=torch.bool),
        index=torch.tensor(indices, dtype=torch.int64),
        scale=torch.ones(count, 2),
        sizes=torch.full((count, 2), squares.side, dtype=torch.int64),
    )


@lru_cache(maxsize=8)
def _order(seed: int, candidate: int, epoch: int, count: int) -> NDArray[np.int64]:
    return keyed_rng(seed, "order", candidate, epoch).permutation(count)


@lru_cache(maxsize=4)
def _parts(files: tuple[str, ...]) -> dict[str, list[int]]:
    """Return the rows of every file."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(files):
        rows.setdefault(name, []).append(row)
    return rows
