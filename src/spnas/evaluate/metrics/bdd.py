"""BDD100K detection AP since 2020: COCO's protocol over boxes whose last pixel is included.

A box from x1 to x2 is x2 - x1 + 1 wide, and its area is that of its sides; crowd and ignored boxes are neither hit nor
miss; a class without ground truth is NaN and left out of the mean. Before 2020 it was another metric: `bdd_old`.
"""

import numpy as np
from numpy.typing import NDArray

from spnas.data.records import Annotations
from spnas.evaluate.average_precision import score_documents
from spnas.evaluate.detect import Found
from spnas.evaluate.metrics import Scores
from spnas.evaluate.metrics.coco import ground_truth, results


def check(annotations: Annotations) -> None:
    """Accept any data: what is of BDD100K here is the size of a box."""


def score(annotations: Annotations, found: Found) -> Scores:
    """Return COCO's twelve numbers and AP per class over inclusive boxes; corners are those that BDD's files state."""
    boxes = inclusive(annotations.boxes)
    return score_documents(
        ground_truth(annotations, boxes=boxes, areas=boxes[:, 2] * boxes[:, 3]),
        results(annotations, found, boxes=inclusive(found.boxes)),
        classes=annotations.classes,
        protocol="BDD100K AP (since 2020), IoU .50:.95, last pixel included",
    )


def inclusive(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn corners (n, 4), the last pixel included, into x, y, width, height."""
    return np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2] + 1), 1)
