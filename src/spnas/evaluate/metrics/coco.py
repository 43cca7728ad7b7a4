"""COCO detection AP: IoU .50:.05:.95, 101 recall points, areas at 32^2 and 96^2 pixels, 100 detections a picture.

Computed by faster-coco-eval, which equals pycocotools to the last digits. Annotation ids are numbered from 1 for the
evaluator (an id of 0 counts as unmatched there); crowd, difficult and ignored boxes are neither hit nor miss.
"""

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spnas.data.records import NOT_A_TARGET, Annotations
from spnas.evaluate.detect import Found
from spnas.evaluate.metrics import Scores

NAMES = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar_1",
    "ar_10",
    "ar_100",
    "ar_small",
    "ar_medium",
    "ar_large",
)


def score(annotations: Annotations, found: Found) -> Scores:
    """Return COCO's twelve numbers and AP per class; NaN where the data has no such object."""
    from faster_coco_eval import COCO, COCOeval_faster

    if not len(found.scores):
        # the evaluator cannot load an empty list; nothing found means no true positive anywhere
        return _nothing_found(annotations)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(ground_truth(annotations))
        evaluator = COCOeval_faster(truth, truth.loadRes(results(annotations, found)), iouType="bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    values = [float(v) for v in evaluator.stats[:12]]
    precision = evaluator.eval["precision"][:, :, :, 0, 2]  # (IoU, recall, class) at all areas, 100 detections
    per_class = {}
    for number, name in enumerate(annotations.classes):
        known = precision[:, :, number][precision[:, :, number] > -1]
        per_class[name] = float(known.mean()) if known.size else float("nan")
    return Scores(
        protocol="COCO AP, IoU .50:.95",
        main="ap",
        values={n: v if v >= 0 else float("nan") for n, v in zip(NAMES, values, strict=True)},
        per_class=per_class,
    )


def _nothing_found(annotations: Annotations) -> Scores:
    targets = (annotations.flags & NOT_A_TARGET) == 0
    area = annotations.areas[targets]
    groups = {
        "small": area < 32**2,
        "medium": (area >= 32**2) & (area < 96**2),
        "large": area >= 96**2,
    }
    values = {}
    for name in NAMES:
        size = name.rsplit("_", 1)[-1]
        there = bool(groups[size].any()) if size in groups else bool(targets.any())
        values[name] = 0.0 if there else float("nan")
    labels = set(annotations.labels[targets].tolist())
    per_class = {n: 0.0 if i in labels else float("nan") for i, n in enumerate(annotations.classes)}
    return Scores(protocol="COCO AP, IoU .50:.95", main="ap", values=values, per_class=per_class)


def xywh(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn corners (n, 4) into x, y, width, height.

    Sides are rounded to ten decimals, which gives back the very numbers of a file that was written with fewer: IoUs
    that meet a threshold exactly (boxes of whole pixels) then fall on the same side of it as in the official evaluator.
    """
    return np.concatenate((boxes[:, :2], np.round(boxes[:, 2:] - boxes[:, :2], 10)), 1)


def picture_numbers(annotations: Annotations) -> NDArray[np.int64]:
    """Number the pictures in the order of their ids: the evaluator breaks ties between equal scores by it."""
    ids = annotations.image_ids
    keys = ids if all(isinstance(i, int) for i in ids) else range(len(ids))
    numbers = np.empty(len(ids), np.int64)
    numbers[sorted(range(len(ids)), key=keys.__getitem__)] = np.arange(len(ids))
    return numbers


def ground_truth(annotations: Annotations) -> dict[str, Any]:
    """Return the annotations as a COCO data set with ids of our own: pictures from 0, boxes from 1, classes from 0."""
    numbers = picture_numbers(annotations)
    image_index = np.repeat(numbers, np.diff(annotations.first))
    crowd = (annotations.flags & NOT_A_TARGET) != 0
    rows = zip(
        image_index.tolist(),
        annotations.labels.tolist(),
        xywh(annotations.boxes).tolist(),
        annotations.areas.tolist(),
        crowd.tolist(),
        strict=True,
    )
    return {
        "info": {},
        "images": [
            {"id": i, "width": int(w), "height": int(h)}
            for i, (w, h) in zip(numbers.tolist(), annotations.sizes.tolist(), strict=True)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(annotations.classes)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": b, "area": a, "iscrowd": int(k)}
            for n, (i, c, b, a, k) in enumerate(rows, start=1)
        ],
    }


def results(annotations: Annotations, found: Found) -> list[dict[str, Any]]:
    """Return detections in COCO's results form, with the same ids as `ground_truth`."""
    rows = zip(
        picture_numbers(annotations)[found.image_index].tolist(),
        found.labels.tolist(),
        xywh(found.boxes).tolist(),
        found.scores.tolist(),
        strict=True,
    )
    return [{"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in rows]
