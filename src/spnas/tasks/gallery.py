"""Pictures of val with what is there, and what a detector finds."""

import numpy as np
from numpy.typing import NDArray

from spnas.arch import Outcome
from spnas.assess import EVAL_BATCH, Recipe
from spnas.data.batches import Pictures, eval_batches
from spnas.data.pictures import read_picture
from spnas.data.records import NOT_A_TARGET, Annotations
from spnas.evaluate.detect import Found, detect
from spnas.report import draw_boxes, encode, records
from spnas.runs.folder import RunFolder
from spnas.train.weights import load_model

PICTURES_SHOWN = 6
SCORE_SHOWN = 0.5
SHOWN_PX = 320  # smaller pictures are enlarged by a whole number


def gallery(
    folder: RunFolder, val: Annotations, recipe: Recipe, shown: list[tuple[str, Outcome]]
) -> tuple[records.PictureRow, ...]:
    """Return pictures spread evenly over val: the truth, then the detections of every model of `shown`."""
    if not shown:
        return ()
    few = val.select(_spread(val), name=val.name)
    views: list[list[records.View]] = [[records.View("truth", _truth(few, i))] for i in range(len(few))]
    for name, outcome in shown:
        detector, _ = load_model(folder.path_of(str(outcome.weights)), digest=outcome.sha256)
        found = detect(detector, eval_batches(Pictures(few, recipe.resize), batch_size=EVAL_BATCH))
        for i in range(len(few)):
            views[i].append(records.View(name, draw_found(read_picture(few.path(i)), found, i, few.classes)))
    return tuple(
        records.PictureRow(
            name=few.files[i],
            views=tuple(views[i]),
            labels=tuple(sorted({few.classes[k] for k in few.labels[few.rows(i)].tolist()})),
        )
        for i in range(len(few))
    )


def _spread(val: Annotations) -> NDArray[np.int64]:
    """Choose pictures with objects, spread over the whole set: no picking of the good ones."""
    with_objects = np.flatnonzero(np.diff(val.first))
    places = np.linspace(0, len(with_objects) - 1, min(PICTURES_SHOWN, len(with_objects))).round().astype(int)
    return np.asarray(with_objects[places], np.int64)


def _truth(annotations: Annotations, index: int) -> bytes:
    rows = annotations.rows(index)
    real = (annotations.flags[rows] & NOT_A_TARGET) == 0
    labels = [annotations.classes[k] for k in annotations.labels[rows][real].tolist()]
    pixels = read_picture(annotations.path(index))
    boxes = annotations.boxes[rows][real]
    return encode(draw_boxes(pixels, boxes, labels=labels, classes=annotations.classes, scale=_scale(pixels)))


def draw_found(
    pixels: NDArray[np.uint8], found: Found, index: int, classes: tuple[str, ...], *, threshold: float = SCORE_SHOWN
) -> bytes:
    """Return picture `index` of `found` with the detections above `threshold`, encoded."""
    rows = found.of(index)
    rows = rows[found.scores[rows] >= threshold]
    drawn = draw_boxes(
        pixels,
        found.boxes[rows],
        labels=[classes[k] for k in found.labels[rows].tolist()],
        scores=found.scores[rows].tolist(),
        classes=classes,
        scale=_scale(pixels),
    )
    return encode(drawn)


def _scale(pixels: NDArray[np.uint8]) -> int:
    height, width = pixels.shape[:2]
    return max(1, SHOWN_PX // max(int(height), int(width)))
