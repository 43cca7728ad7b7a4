"""A detector with fresh weights, which sees things everywhere, and one in numpy that sees what is painted."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from spnas.data.records import DataSet
from spnas.data.transforms import Resize
from spnas.nets.settings import PRESETS
from spnas.predict import Model, Raw
from spnas.predict.prepare import MEAN, STD
from spnas.train.weights import ModelConfig, build, write_bundle


@pytest.fixture(scope="session")
def config(tiny: DataSet) -> ModelConfig:
    return ModelConfig(
        detector="faster_rcnn",
        arch="basic: 8x1 / 16x1 / 32x1 / 64x1",
        classes=tiny.val.classes,
        category_ids=tiny.val.category_ids,
        settings=msgspec.structs.replace(PRESETS["small"], most_detections=20),
        resize=Resize(None, 96),
    )


@pytest.fixture(scope="session")
def bundle(config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder, build(config, seed=1), config)
    return folder


class Painted:
    """A network that finds rectangles: object k of N is painted in (k, 255, 0) on black, and is of class k % 2.

    In inputs larger than `keen`, it overlooks what is smaller than `coarse`; it notes the shapes it was given.
    """

    def __init__(self, *, keen: int = 10**6, coarse: int = 0) -> None:
        self.keen, self.coarse = keen, coarse
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, images: NDArray[np.float32], sizes: NDArray[np.int64]) -> Raw:
        self.shapes.append(images.shape)
        found = [self._find(image, (int(h), int(w))) for image, (h, w) in zip(images, sizes, strict=True)]
        most = max(1, *map(len, found))
        boxes, labels = np.zeros((len(found), most, 4), np.float32), np.full((len(found), most), -1)
        for row, rows in enumerate(found):
            for column, (k, *box) in enumerate(rows):
                boxes[row, column], labels[row, column] = box, k % 2
        return Raw(boxes, (labels >= 0).astype(np.float32), labels)

    def _find(self, image: NDArray[np.float32], size: tuple[int, int]) -> list[tuple[int, int, int, int, int]]:
        colours = (image[:, : size[0], : size[1]].transpose(1, 2, 0) * STD + MEAN) * 255
        red, green = colours[:, :, 0].round().astype(int), colours[:, :, 1]
        found = []
        for k in np.unique(red[green > 200]).tolist():
            y, x = np.nonzero((red == k) & (green > 200))
            box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
            if max(size) <= self.keen or min(box[2] - box[0], box[3] - box[1]) >= self.coarse:
                found.append((k, *box))
        return found


class AsItIs:
    """Pictures keep their size."""

    def target(self, width: int, height: int) -> tuple[int, int]:
        return width, height


def painted_model(network: Painted) -> Model:
    return Model(network, classes=("even", "odd"), category_ids=(7, 9), sizing=AsItIs())


def paint(boxes: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a picture of `size` (width, height) with these boxes on it."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for k, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        pixels[y1:y2, x1:x2] = (k, 255, 0)
    return pixels
