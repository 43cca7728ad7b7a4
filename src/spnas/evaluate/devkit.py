"""Matching as PASCAL VOC's devkit does it: a detection counts for the object that it overlaps most, and no other.

The first detection of an object, by falling score, is a hit; all later ones are misses, also where another object
would have been free. COCO's matching looks for a second choice instead.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.records import Annotations
from spnas.evaluate.detect import Found
from spnas.evaluate.overlaps import Boxes, overlaps

LEVELS = np.arange(11) * 0.1  # as doubles, so that a recall of 3/10 does not reach the fourth, as in the field's code


class PrecisionRecall(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One class: precision and recall (n,) after each detection that counts; `objects` is what there was to find."""

    objects: int
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]


def precision_recall(
    annotations: Annotations,
    found: Found,
    *,
    iou: float,
    pixel: float,
    strict: bool = False,
    neither: NDArray[np.bool_] | None = None,
) -> list[PrecisionRecall]:
    """Return the curve of each class.

    Args:
      pixel: added to every side, see `overlaps`.
      strict: an overlap of exactly `iou` is not enough.
      neither: objects (M,) that are neither hit nor miss.
    """
    count, objects = len(annotations.classes), len(annotations.labels)
    spared = np.zeros(objects, np.bool_) if neither is None else neither
    image_index = np.repeat(np.arange(len(annotations)), np.diff(annotations.first))
    pairs = overlaps(
        Boxes(boxes=annotations.boxes, group=image_index * count + annotations.labels),
        Boxes(boxes=found.boxes, group=found.image_index * count + found.labels),
        at_least=iou,
        pixel=pixel,
    )
    if strict:
        pairs = pairs.where(pairs.overlap > iou)
    order = np.lexsort((pairs.truth, -pairs.overlap, pairs.found))  # the most overlapped object first
    rows, firsts = np.unique(pairs.found[order], return_index=True)
    best = np.full(len(found.scores), objects)  # row `objects` stands for none
    best[rows] = pairs.truth[order][firsts]
    ranked = np.lexsort((found.image_index, -found.scores))
    hit, counts = _outcomes(best[ranked], np.append(spared, False))
    curves = []
    for label in range(count):
        mine = hit[(found.labels[ranked] == label) & counts]
        targets = int(((annotations.labels == label) & ~spared).sum())
        hits = np.cumsum(mine)
        curves.append(
            PrecisionRecall(
                objects=targets,
                recall=hits / max(targets, 1),
                precision=hits / np.arange(1, len(mine) + 1),
            )
        )
    return curves


def _outcomes(best: NDArray[np.int64], spared: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which detections, by falling score, are hits, and which count at all."""
    first = np.zeros(len(best), np.bool_)
    first[np.unique(best, return_index=True)[1]] = True
    counts = ~spared[best]
    return first & counts & (best < len(spared) - 1), counts


def area(curve: PrecisionRecall) -> float:
    """Return the area under the curve, precision made falling first (VOC since 2010); NaN without objects."""
    if not curve.objects:
        return float("nan")
    recall = np.concatenate(([0.0], curve.recall))
    envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return float((np.diff(recall) * envelope).sum())


def eleven_points(curve: PrecisionRecall) -> float:
    """Return the mean of the best precision from recall 0, .1, ... 1 on (VOC 2007); NaN without objects."""
    if not curve.objects:
        return float("nan")
    return float(np.mean([curve.precision[curve.recall >= level].max(initial=0.0) for level in LEVELS]))


def mean(values: list[float]) -> float:
    """Return the mean of what is not NaN; NaN when nothing is left."""
    known = [v for v in values if v == v]
    return float(np.mean(known)) if known else float("nan")
