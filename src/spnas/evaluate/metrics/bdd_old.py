"""BDD100K detection AP as its evaluator was from 2018 to 2020: the area under the curve at IoU .75 only.

Matching is PASCAL VOC's, the last pixel is included (x2 - x1 + 1), the overlap must exceed .75, and crowd boxes count
like all others; what the data set itself ignores is neither hit nor miss. Numbers of papers from those years are not
comparable with `bdd`.
"""

from spnas.data.records import IGNORED, Annotations
from spnas.evaluate.detect import Found
from spnas.evaluate.devkit import area, mean, precision_recall
from spnas.evaluate.metrics import Scores


def check(annotations: Annotations) -> None:
    """Accept any data: what is of BDD100K here is the size of a box."""


def score(annotations: Annotations, found: Found) -> Scores:
    """Return the mean over the classes that have boxes, and each class."""
    ignored = (annotations.flags & IGNORED) != 0
    curves = precision_recall(annotations, found, iou=0.75, pixel=1.0, strict=True, neither=ignored)
    areas = [area(curve) for curve in curves]
    return Scores(
        protocol="BDD100K AP (2018-2020), IoU .75, last pixel included",
        main="ap75",
        values={"ap75": mean(areas)},
        per_class=dict(zip(annotations.classes, areas, strict=True)),
    )
