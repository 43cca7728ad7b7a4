"""No number in a file reaches a tensor unless it can be trained on: ten thousand boxes of every absurdity."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spnas.data.batches import Pictures, eval_batches
from spnas.data.open import open_data
from spnas.data.records import DataSet
from spnas.data.transforms import Resize
from spnas.errors import DataError

from .conftest import Document, check_conserved, ecp_node, voc_object, voc_text

BOXES = 2500  # per format
FINITE = (0, -0.0, 1, 5, 20, 59.5, 60, 61, 1e-300, -1, -1e9, 1e9, 1e30, -1e30, 1e308, 240, 241, 0.001, 5e-324)
WORDS = ("nan", "inf", "-inf", "1e999", "-1e999", "NaN", "1_0", "0x10", "", "six", "٣", "1,5", "1e", "--1")


def draw(rng: random.Random) -> list[float]:
    """Four numbers: good, nearly good, or absurd."""
    if rng.random() < 0.4:
        return [rng.uniform(-10, 50), rng.uniform(-10, 30), rng.uniform(-2, 40), rng.uniform(-2, 30)]
    return [float(rng.choice(FINITE)) if rng.random() < 0.5 else rng.uniform(0, 40) for _ in range(4)]


def check_trainable(data: DataSet) -> None:
    check_conserved(data)
    for batch in eval_batches(Pictures(data.train, Resize(None, 64)), batch_size=2):
        real = batch.labels >= 0
        assert torch.isfinite(batch.boxes).all()
        assert (batch.boxes[real][:, 2:] > batch.boxes[real][:, :2]).all()
        assert (batch.labels < len(data.train.classes)).all()


def test_numbers_of_coco(coco: Any) -> None:
    rng = random.Random(1)

    def change(document: Document, _: Path) -> None:
        document["annotations"] = [
            {
                "id": n,
                "image_id": rng.choice([1, 2, 3, 4, 4, 99, -1]),
                "category_id": rng.choice([1, 7, 7, 7, 8, -1, 10**18]),
                "bbox": draw(rng)[: rng.choice([4, 4, 4, 4, 3])],
                "area": rng.choice([0, -5, 1e300, 80, None]),
                "iscrowd": rng.choice([0, 0, 0, 1]),
            }
            for n in range(BOXES)
        ]

    check_trainable(open_data(coco(change), max_bad=1.0))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e400", "9" * 400])
def test_numbers_that_are_none_are_refused_by_json(word: str, coco: Any) -> None:
    folder = coco(lambda document, _: json.dumps(document).replace("[5, 4", f"[5, {word}", 1).encode())
    with pytest.raises(DataError, match="json-"):
        open_data(folder)


def test_numbers_of_voc(voc: Any) -> None:
    rng = random.Random(2)
    objects = []
    for _ in range(BOXES):
        x, y, w, h = draw(rng)
        corners: list[Any] = [x, y, x + w, y + h]
        if rng.random() < 0.3:
            corners[rng.randrange(4)] = rng.choice(WORDS)
        objects.append(voc_object(rng.choice(["cat", "dog", "dog", ""]), tuple(corners)))
    text = voc_text("p1", "".join(objects))
    data = open_data(voc(text=text), max_bad=1.0)
    check_trainable(data)
    assert sum(c.read for c in data.reports[0].per_class.values()) == BOXES + 6


def test_numbers_of_yolo(yolo: Any) -> None:
    rng = random.Random(3)
    lines = []
    for _ in range(BOXES):
        numbers = [str(v / 60) if rng.random() < 0.8 else str(v) for v in draw(rng)]
        if rng.random() < 0.3:
            numbers[rng.randrange(4)] = rng.choice(WORDS)
        label = rng.choice(["0", "1", "1", "1", "2", "-1", "1e9", "nan", "0.5", "99999999999999999999", "cat"])
        lines.append(" ".join([label, *numbers[: rng.choice([4, 4, 4, 4, 3])]]))
    data = open_data(yolo(text="\n".join(lines)), max_bad=1.0)
    check_trainable(data)
    assert sum(c.read for c in data.reports[0].per_class.values()) == BOXES + 6


@pytest.mark.parametrize("name", ["bdd", "ecp"])
def test_numbers_of_street_scenes(name: str, request: pytest.FixtureRequest) -> None:
    rng = random.Random(4)
    half = BOXES // 2

    def corners() -> list[float]:
        x, y, w, h = draw(rng)
        return [v if np.isfinite(v) else 1e308 for v in (x, y, x + w, y + h)]

    def in_bdd(frames: Any, _: Path) -> None:
        frames[0]["labels"] = [
            {
                "category": rng.choice(["car", "bus", "bike", "cow", ""]),
                "box2d": dict(zip(("x1", "y1", "x2", "y2"), corners()[: rng.choice([4, 4, 3])], strict=False)),
            }
            for _ in range(half)
        ]

    def in_ecp(frame: Any, _: Path) -> None:
        names = ["pedestrian", "rider", "bicycle", "cow"]
        frame["children"] = [ecp_node(rng.choice(names), tuple(corners())) for _ in range(half)]

    data = open_data(request.getfixturevalue(name)(in_bdd if name == "bdd" else in_ecp), max_bad=1.0)
    check_trainable(data)
    assert sum(c.read for c in data.reports[0].per_class.values()) == half + 6
