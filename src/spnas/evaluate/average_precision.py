"""COCO's way from matched boxes to average precision, over documents in COCO's form.

Computed by faster-coco-eval, which equals pycocotools to the last digits.
"""

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


def score_documents(
    truth: dict[str, Any], results: list[dict[str, Any]], *, classes: tuple[str, ...], protocol: str
) -> Scores:
    """Return COCO's twelve numbers and AP per class; class i of `classes` has category id i in the documents."""
    from faster_coco_eval import COCO, COCOeval_faster

    if not results:
        # the evaluator cannot load an empty list; nothing found means no true positive anywhere
        return _nothing_found(truth, classes, protocol=protocol)
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO(truth)
        evaluator = COCOeval_faster(data, data.loadRes(results), iouType="bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    values = [float(v) for v in evaluator.stats[:12]]
    precision = evaluator.eval["precision"][:, :, :, 0, 2]  # (IoU, recall, class) at all areas, 100 detections
    per_class = {}
    for number, name in enumerate(classes):
        known = precision[:, :, number][precision[:, :, number] > -1]
        per_class[name] = float(known.mean()) if known.size else float("nan")
    return Scores(
        protocol=protocol,
        main="ap",
        values={n: v if v >= 0 else float("nan") for n, v in zip(NAMES, values, strict=True)},
        per_class=per_class,
    )


def _nothing_found(truth: dict[str, Any], classes: tuple[str, ...], *, protocol: str) -> Scores:
    targets = [a for a in truth["annotations"] if not a["iscrowd"]]
    areas = np.array([a["area"] for a in targets], np.float64)
    there = {size: bool(((areas >= low) & (areas <= high)).any()) for size, (low, high) in AREAS.items()}
    values = {}
    for name in NAMES:
        size = name.rsplit("_", 1)[-1]
        values[name] = 0.0 if there[size if size in AREAS else "all"] else float("nan")
    labels = {a["category_id"] for a in targets}
    per_class = {name: 0.0 if i in labels else float("nan") for i, name in enumerate(classes)}
    return Scores(protocol=protocol, main="ap", values=values, per_class=per_class)


def picture_numbers(image_ids: tuple[int | str, ...]) -> NDArray[np.int64]:
    """Number the pictures in the order of their ids: the evaluator breaks ties between equal scores by it."""
    keys = image_ids if all(isinstance(i, int) for i in image_ids) else range(len(image_ids))
    numbers = np.empty(len(image_ids), np.int64)
    numbers[sorted(range(len(image_ids)), key=keys.__getitem__)] = np.arange(len(image_ids))
    return numbers
