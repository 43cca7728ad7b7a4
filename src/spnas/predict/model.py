"""A detector that is ready to look at pictures, and where it is loaded from."""

import itertools
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spnas.data.pictures import resize
from spnas.errors import UsageError, escape
from spnas.export.session import open_onnx
from spnas.predict import Network, Raw, Sizing
from spnas.predict.detections import Detections
from spnas.predict.network import torch_network
from spnas.predict.prepare import padded, stack
from spnas.predict.sources import Given, Source, gather
from spnas.predict.tiles import Seen, Tile, Tiling, cut, merge, tiling_of
from spnas.runs.folder import model_in

BATCH = 16
Side = int | tuple[int, int] | None
AHEAD = 2  # batches of views that are read before they are sorted by size


class View(NamedTuple):
    """A tile, resized for the network, of picture number `picture`: `given`, of `size` (width, height)."""

    picture: int
    given: Given
    size: tuple[int, int]
    tile: Tile
    pixels: NDArray[np.uint8]
    kept: NDArray[np.uint8] | None


class Model:
    """A network, with what it takes to ask it in pictures and to read its answers.

    Args:
      category_ids: the ids that the data it learned from gives the classes.
      sizing: how large pictures are made.
      nms_threshold: overlap above which two detections of a class are one, where tiles are merged.
    """

    def __init__(
        self,
        network: Network,
        *,
        classes: tuple[str, ...],
        category_ids: tuple[int | str, ...],
        sizing: Sizing,
        nms_threshold: float = 0.5,
        name: str = "a network",
    ) -> None:
        self.network = network
        self.classes = classes
        self.category_ids = category_ids
        self.sizing = sizing
        self.nms_threshold = nms_threshold
        self.name = name

    def __repr__(self) -> str:
        names = ", ".join(map(escape, self.classes[:6])) + (", ..." if len(self.classes) > 6 else "")
        return f"<Model {escape(self.name)} for {len(self.classes)} classes: {names}>"

    @overload
    def predict(
        self, source: NDArray[np.uint8] | Image.Image, *, score: float = ..., tile: Side = ..., batch_size: int = ...
    ) -> Detections: ...
    @overload
    def predict(
        self, source: list[Any] | tuple[Any, ...], *, score: float = ..., tile: Side = ..., batch_size: int = ...
    ) -> list[Detections]: ...
    @overload
    def predict(
        self, source: str | os.PathLike[str], *, score: float = ..., tile: Side = ..., batch_size: int = ...
    ) -> Detections | list[Detections]: ...
    def predict(
        self, source: Source, *, score: float = 0.5, tile: Side = None, batch_size: int = BATCH
    ) -> Detections | list[Detections]:
        """Find objects in a picture, or in each of several.

        Args:
          source: a path, an array (H, W, 3) uint8 RGB, or a PIL image; a folder, or a list of any of these.
          score: the least score of what is returned; 0 for all that the detector does not drop itself.
          tile: side of the tiles, or (side, overlap), in pixels, that a larger picture is cut into besides being
            looked at whole. Each is resized as a picture of its own.
          batch_size: views that go through the network at a time, which bounds memory.

        Returns: `Detections` of a single picture; for a folder or a list, one each, in order.
        Raises: UsageError or DataError, naming the picture.
        """
        _, single = gather(source)
        found = list(self.stream(source, score=score, tile=tile, batch_size=batch_size))
        return found[0] if single else found

    def stream(
        self, source: Source, *, score: float = 0.5, tile: Side = None, batch_size: int = BATCH
    ) -> Iterator[Detections]:
        """Do the same picture after picture; no more than a few batches are in memory.

        Pictures are batched with those of their own size only: who else is looked at changes nothing but rounding.
        """
        tiling = tiling_of(tile)
        if batch_size < 1:
            raise UsageError(f"batch_size {batch_size}: give at least 1")
        given, _ = gather(source)
        return self._stream(given, score, tiling, batch_size)

    def _stream(self, given: list[Given], score: float, tiling: Tiling | None, batch: int) -> Iterator[Detections]:
        looked = self._look(self._views(given, tiling), batch)
        for _, group in itertools.groupby(looked, key=lambda pair: pair[0].picture):
            parts = list(group)
            view = parts[0][0]
            margin = 0.0 if tiling is None else tiling.margin
            found = merge([seen for _, seen in parts], view.size, threshold=self.nms_threshold, margin=margin)
            yield Detections(
                boxes=found.boxes,
                scores=found.scores,
                labels=found.labels,
                classes=self.classes,
                category_ids=self.category_ids,
                size=view.size,
                path=None if view.given.path is None else str(view.given.path),
                pixels=view.kept,
            ).above(score)

    def _views(self, given: list[Given], tiling: Tiling | None) -> Iterator[View]:
        for index, one in enumerate(given):
            pixels = one.read()
            height, width = pixels.shape[:2]
            for tile in cut(width, height, tiling):
                part = pixels[tile.y1 : tile.y2, tile.x1 : tile.x2]
                small = resize(part, self.sizing.target(tile.x2 - tile.x1, tile.y2 - tile.y1))
                yield View(index, one, (width, height), tile, small, pixels if one.path is None else None)

    def _look(self, views: Iterator[View], batch: int) -> Iterator[tuple[View, Seen]]:
        """Yield every view, in order, with what the network finds in it; those of one size share a batch."""
        while ahead := list(itertools.islice(views, AHEAD * batch)):
            alike: dict[tuple[int, int], list[int]] = defaultdict(list)
            for place, view in enumerate(ahead):
                alike[padded(view.pixels)].append(place)
            seen: dict[int, Seen] = {}
            for places in alike.values():
                for start in range(0, len(places), batch):
                    few = places[start : start + batch]
                    raw = self.network(*stack([ahead[place].pixels for place in few]))
                    seen |= {place: _in_picture(raw, row, ahead[place]) for row, place in enumerate(few)}
            yield from ((view, seen[place]) for place, view in enumerate(ahead))


def _in_picture(raw: Raw, row: int, view: View) -> Seen:
    """Return what was found in one view, in pixels of its picture."""
    real = raw.labels[row] >= 0
    tile = view.tile
    height, width = view.pixels.shape[:2]
    scale = np.array((width / (tile.x2 - tile.x1), height / (tile.y2 - tile.y1)) * 2, np.float32)
    boxes = (raw.boxes[row][real] / scale).astype(np.float64) + np.array(tile[:2] * 2, np.float64)
    return Seen(tile, boxes, raw.scores[row][real].astype(np.float64), raw.labels[row][real].astype(np.int64))


def load(path: str | Path) -> Model:
    """Load a trained detector: a folder such as `runs/NAME/best`, a file of ours, the folder of a study, or an ONNX
    file that `spnas export` wrote, which onnxruntime runs without torch.

    Raises: UsageError when it is none of these; IntegrityError when a file is damaged.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        return _load_onnx(path)
    from spnas.train.weights import load_model  # torch, which other networks do without

    detector, config = load_model(model_in(path))
    return Model(
        torch_network(detector),
        classes=config.classes,
        category_ids=config.category_ids,
        sizing=config.resize,
        nms_threshold=config.settings.nms_threshold,
        name=str(path),
    )


def _load_onnx(path: Path) -> Model:
    network = open_onnx(path)
    known = network.description
    return Model(
        lambda images, sizes: Raw(*network(images, sizes)),
        classes=known.classes,
        category_ids=known.category_ids,
        sizing=known,
        nms_threshold=known.nms_threshold,
        name=str(path),
    )
