"""COCO detection AP: IoU .50:.05:.95, 101 recall points, areas at 32^2 and 96^2 pixels, 100 detections a picture.

Annotation ids are numbered from 1 for the evaluator (an id of 0 counts as unmatched there); crowd, difficult and
ignored boxes are neither hit nor miss.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spnas.data.records import NOT_A_TARGET, Annotations
from spnas.evaluate.average_precision import NAMES, picture_numbers, score_documents
from spnas.evaluate.detect import Found
from spnas.evaluate.metrics import Scores

__all__ = ["NAMES", "check", "ground_truth", "results", "score"]


def check(annotations: Annotations) -> None:
    """Accept any data: COCO's protocol asks for nothing but boxes and classes."""


def score(annotations: Annotations, found: Found) -> Scores:
    """Return COCO's twelve numbers and AP per class; NaN where the data has no such object."""
    return score_documents(
        ground_truth(annotations),
        results(annotations, found),
        classes=annotations.classes,
        protocol="COCO AP, IoU .50:.95",
    )


def xywh(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn corners (n, 4) into x, y, width, height.

    Sides are rounded to ten decimals, which gives back the very numbers of a file that was written with fewer: IoUs
    that meet a threshold exactly (boxes of whole pixels) then fall on the same side of it as in the official evaluator.
    """
    return np.concatenate((boxes[:, :2], np.round(boxes[:, 2:] - boxes[:, :2], 10)), 1)


def ground_truth(
    annotations: Annotations,
    *,
    boxes: NDArray[np.float64] | None = None,
    areas: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """Return the annotations as a COCO data set with ids of our own: pictures from 0, boxes from 1, classes from 0.

    Args: boxes (M, 4) as x, y, width, height, and areas (M,), instead of those of the annotations.
    """
    numbers = picture_numbers(annotations.image_ids)
    image_index = np.repeat(numbers, np.diff(annotations.first))
    crowd = (annotations.flags & NOT_A_TARGET) != 0
    rows = zip(
        image_index.tolist(),
        annotations.labels.tolist(),
        (xywh(annotations.boxes) if boxes is None else boxes).tolist(),
        (annotations.areas if areas is None else areas).tolist(),
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


def results(
    annotations: Annotations, found: Found, *, boxes: NDArray[np.float64] | None = None
) -> list[dict[str, Any]]:
    """Return detections in COCO's results form, with the same ids as `ground_truth`.

    Args: boxes (K, 4) as x, y, width, height instead of those found.
    """
    rows = zip(
        picture_numbers(annotations.image_ids)[found.image_index].tolist(),
        found.labels.tolist(),
        (xywh(found.boxes) if boxes is None else boxes).tolist(),
        found.scores.tolist(),
        strict=True,
    )
    return [{"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in rows]
