"""Cases that tests of several metrics share, and pycocotools as the oracle."""

import contextlib
import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from spnas.data.records import CROWD, Annotations
from spnas.evaluate.detect import Found


def annotations_of(
    boxes: list[list[tuple[float, float, float, float]]],
    labels: list[list[int]],
    *,
    crowd: list[list[bool]],
    classes: int,
) -> Annotations:
    """Make annotations of 200 x 200 pictures; boxes are x, y, width, height."""
    flat = np.array([b for row in boxes for b in row], np.float64).reshape(-1, 4)
    count = len(boxes)
    return Annotations(
        name="made",
        root=Path(),
        classes=tuple(f"class {i}" for i in range(classes)),
        files=tuple(f"{i}.png" for i in range(count)),
        image_ids=tuple(range(count)),
        box_ids=tuple(range(len(flat))),
        category_ids=tuple(range(classes)),
        sizes=np.full((count, 2), 200, np.int32),
        first=np.concatenate(([0], np.cumsum([len(row) for row in boxes]))).astype(np.int64),
        boxes=np.concatenate((flat[:, :2], flat[:, :2] + flat[:, 2:]), 1),
        labels=np.array([k for row in labels for k in row], np.int64),
        flags=np.array([CROWD * c for row in crowd for c in row], np.uint8),
        areas=flat[:, 2] * flat[:, 3],
    )


def random_case(seed: int) -> tuple[Annotations, Found]:
    """Make a few pictures with crowds, empty pictures, near hits, repeats, ties and misses."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 4))
    boxes, labels, crowd, rows = [], [], [], []
    for image in range(int(rng.integers(1, 6))):
        count = int(rng.integers(0, 7))
        corner, side = rng.integers(0, 120, (count, 2)), rng.integers(1, 130, (count, 2))
        boxes.append([tuple(map(float, (*c, *s))) for c, s in zip(corner, np.minimum(side, 200 - corner), strict=True)])
        labels.append(rng.integers(0, classes, count).tolist())
        crowd.append((rng.random(count) < 0.15).tolist())
        for box, label in zip(boxes[-1], labels[-1], strict=True):
            for _ in range(int(rng.integers(0, 3))):
                x, y, w, h = np.array(box) + rng.normal(0, 4, 4)
                rows.append((image, (x, y, x + max(w, 1), y + max(h, 1)), round(float(rng.random()), 1), label))
    rows += [(0, (0.0, 0.0, 30.0, 30.0), 0.3, 0)]
    return annotations_of(boxes, labels, crowd=crowd, classes=classes), found_of(rows)


def oracle(truth: dict[str, Any], detections: list[dict[str, Any]]) -> list[float]:
    """Return pycocotools' twelve numbers."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = truth
        data.createIndex()
        evaluator = COCOeval(data, data.loadRes(detections), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(v) for v in evaluator.stats]


def from_document(document: dict[str, Any]) -> Annotations:
    """Turn a COCO document into annotations without looking at its pictures, which are not there."""
    order = {image["id"]: n for n, image in enumerate(document["images"])}
    label = {c["id"]: n for n, c in enumerate(document["categories"])}
    per_image: list[list[dict[str, Any]]] = [[] for _ in order]
    for a in document["annotations"]:
        per_image[order[a["image_id"]]].append(a)
    made = annotations_of(
        [[tuple(a["bbox"]) for a in row] for row in per_image],
        [[label[a["category_id"]] for a in row] for row in per_image],
        crowd=[[bool(a["iscrowd"]) for a in row] for row in per_image],
        classes=len(label),
    )
    return msgspec.structs.replace(
        made,
        image_ids=tuple(order),
        category_ids=tuple(label),
        areas=np.array([a["area"] for row in per_image for a in row], np.float64),
    )


def perfect(annotations: Annotations) -> Found:
    counts = np.diff(annotations.first)
    return Found(
        image_index=np.repeat(np.arange(len(annotations)), counts),
        boxes=annotations.boxes,
        scores=np.linspace(1, 0.5, len(annotations.labels)),
        labels=annotations.labels,
    )


def found_of(rows: list[tuple[int, tuple[float, float, float, float], float, int]]) -> Found:
    """Make detections of (picture, corners, score, label)."""
    return Found(
        image_index=np.array([r[0] for r in rows], np.int64),
        boxes=np.array([r[1] for r in rows], np.float64).reshape(-1, 4),
        scores=np.array([r[2] for r in rows], np.float64),
        labels=np.array([r[3] for r in rows], np.int64),
    )
