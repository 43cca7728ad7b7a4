"""PASCAL VOC AP50: area under the curve (2010 and later), and eleven points (2007).

VOC counts pixels: a box from xmin to xmax is xmax - xmin + 1 wide. Annotations here begin at xmin - 1 and end at xmax,
so the same width is x2 - x1, and nothing is added: the devkit's numbers, exactly. Boxes of other tools that still hold
first and last pixel need `inclusive`. Difficult (and crowd, and ignored) objects are neither hit nor miss.
"""

from spnas.data.records import NOT_A_TARGET, Annotations
from spnas.evaluate.detect import Found
from spnas.evaluate.devkit import area, eleven_points, mean, precision_recall
from spnas.evaluate.metrics import Scores


def check(annotations: Annotations) -> None:
    """Accept any data: without `difficult` every object counts."""


def score(annotations: Annotations, found: Found, *, iou: float = 0.5, inclusive: bool = False) -> Scores:
    """Return both means over the classes that have objects, and the area per class.

    Args:
      iou: from which overlap on a detection fits.
      inclusive: corners x2, y2 of annotations and detections are the last pixel, not the end behind it.
    """
    curves = precision_recall(
        annotations,
        found,
        iou=iou,
        pixel=1.0 if inclusive else 0.0,
        neither=(annotations.flags & NOT_A_TARGET) != 0,
    )
    areas, points = [area(c) for c in curves], [eleven_points(c) for c in curves]
    name = f"ap{round(100 * iou)}"
    return Scores(
        protocol=f"VOC AP at IoU {iou:g}, area (2010+) and 11 points (2007)",
        main=name,
        values={name: mean(areas), f"{name}_2007": mean(points)},
        per_class=dict(zip(annotations.classes, areas, strict=True)),
    )
