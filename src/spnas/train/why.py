"""Why a training has learned nothing: the usual causes, each checked on what is there, the likeliest first."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spnas.data.propose import USUAL_RATIOS, propose_anchors
from spnas.data.records import Annotations
from spnas.data.transforms import Resize
from spnas.nets.settings import DetectorSettings
from spnas.train.log import Line
from spnas.train.settings import TrainSettings

NOTHING = 0.01  # AP below which nothing was learned
FEWEST_STEPS, FEWEST_EPOCHS = 300, 4
SMALLEST_PX = 4.0  # a side at the input, below which hardly anything is found
FALLEN = 0.9  # share of its first value that a loss which learns falls below
ENDS = 5  # lines at either end of the log that are averaged
COMMON = 0.5
_NOTHING_THERE = (
    "there is nothing to learn from: none of the {} boxes of train is an object to be found (crowd, difficult and "
    "ignored ones are not); check the annotations with 'spnas doctor'"
)


def why_nothing(
    train: Annotations,
    val: Annotations,
    lines: Sequence[Line],
    *,
    steps: int,
    settings: TrainSettings,
    detector: DetectorSettings,
    resize: Resize,
) -> list[str]:
    """Return one line for each cause that was found, with what to do; a last resort when there was none."""
    if not train.targets.any():
        return [_NOTHING_THERE.format(len(train.labels))]
    causes = [
        *_of_labels(train, val),
        *_of_loss(lines, settings, warm=min(settings.warmup, steps // 10)),
        *_of_sizes(train, resize),
        *_of_anchors(train, detector, resize),
        *_of_length(steps, settings.batch_size, len(train)),
    ]
    return causes or ["none of the usual causes was found; look at pictures with 'spnas doctor' and 'spnas predict'"]


def _of_labels(train: Annotations, val: Annotations) -> list[str]:
    learned, judged = train.labels[train.targets], val.labels[val.targets]
    unseen = sorted(set(judged.tolist()) - set(learned.tolist()))
    share = float(np.isin(judged, unseen).mean()) if len(judged) else 0.0
    if share < COMMON:
        return []
    names = ", ".join(train.classes[label] for label in unseen[:4])
    return [f"{share:.0%} of the objects of val are of classes that train has none of ({names}); check the split"]


def _of_loss(lines: Sequence[Line], settings: TrainSettings, *, warm: int) -> list[str]:
    losses = [line.loss for line in lines if line.loss is not None and line.step > warm]
    if len(losses) < 2 * ENDS:
        return []
    first, last = float(np.mean(losses[:ENDS])), float(np.mean(losses[-ENDS:]))
    if last < FALLEN * first:
        return []
    what = "rose" if last > first / FALLEN else "did not fall"
    return [f"the loss {what} ({first:.3g} at first, {last:.3g} at the end); try --rate {settings.rate / 10:g}"]


def _of_sizes(train: Annotations, resize: Resize) -> list[str]:
    sides = _sides(train, resize).min(axis=1)
    share = float((sides < SMALLEST_PX).mean()) if len(sides) else 0.0
    if share < COMMON:
        return []
    return [f"{share:.0%} of the objects are narrower than {SMALLEST_PX:g} px at the input; give a larger --image-size"]


def _of_anchors(train: Annotations, detector: DetectorSettings, resize: Resize) -> list[str]:
    if detector.anchor_ratios != USUAL_RATIOS:
        return []
    size = int(np.median([max(resize.target(int(w), int(h))) for w, h in train.sizes]))
    suited = propose_anchors(train, size, usual_scale=detector.anchor_scale)
    if suited is None or suited.usual_covered > COMMON:
        return []
    return [
        f"{1 - suited.usual_covered:.0%} of the boxes have no anchor that overlaps them by half (sides of "
        f"{detector.anchor_scale:g} strides); another --image-size brings boxes and anchors together"
    ]


def _of_length(steps: int, batch_size: int, pictures: int) -> list[str]:
    epochs = steps * batch_size / max(1, pictures)
    if steps >= FEWEST_STEPS and epochs >= FEWEST_EPOCHS:
        return []
    return [f"{steps} steps, {epochs:.3g} epochs, are few for fresh weights; give more --epochs, or --from MODEL"]


def _sides(train: Annotations, resize: Resize) -> NDArray[np.float64]:
    """Return width and height (M, 2) of the objects at the input."""
    grow = np.array([max(resize.target(int(w), int(h))) / max(w, h) for w, h in train.sizes])
    owner = np.repeat(np.arange(len(train)), np.diff(train.first))
    sides: NDArray[np.float64] = (train.boxes[:, 2:] - train.boxes[:, :2]) * grow[owner, None]
    return sides[train.targets]
