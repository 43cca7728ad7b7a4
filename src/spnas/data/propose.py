"""What a data set suggests for its training: the size of the input, the recipe, and the anchors."""

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.records import Annotations

LEAST_OBJECT_PX = 16.0  # what three of four objects of a class should measure at the input
FEWEST_BOXES = 10  # a class of fewer does not decide the size
SIZES_PX, STEP_PX = (96, 1344), 32
STANDARD_FROM_PX, STANDARD_FROM_PICTURES = 512, 2000
STRIDES = (4, 8, 16, 32, 64)
SCALES = (2.0, 3.0, 4.0, 6.0, 8.0)
USUAL_RATIOS = (0.5, 1.0, 2.0)
COVERED_FROM = 0.5  # IoU of a box with the best anchor, both around one centre


class Anchors(msgspec.Struct, frozen=True, kw_only=True):
    """Anchors that suit the boxes at the proposed input size: side in strides, and height / width.

    covered: share of boxes that some anchor overlaps by at least half; usual_covered: the same for `usual_scale`
      and the ratios 1/2, 1 and 2, which are what a recipe brings.
    """

    scale: float
    ratios: tuple[float, ...]
    covered: float
    usual_scale: float
    usual_covered: float


def propose_size(annotations: Annotations) -> int:
    """Return the long side at which most objects of every class measure 16 px, at most that of the pictures."""
    targets = annotations.targets if annotations.targets.any() else np.ones(len(annotations.labels), np.bool_)
    long = annotations.sizes.max(axis=1).astype(float)
    owner = np.repeat(np.arange(len(annotations)), np.diff(annotations.first))
    sides = np.sqrt(np.prod(annotations.boxes[:, 2:] - annotations.boxes[:, :2], axis=1)) / long[owner]
    labels, sides = annotations.labels[targets], sides[targets]
    present = np.flatnonzero(np.bincount(labels) >= FEWEST_BOXES)
    groups = [sides[labels == label] for label in present] or [sides]
    share = min(float(np.quantile(group, 0.25)) for group in groups)
    wanted = min(LEAST_OBJECT_PX / max(share, 1e-6), float(np.median(long)))
    return int(np.clip(-(-wanted // STEP_PX) * STEP_PX, *SIZES_PX))


def propose_recipe(size: int, pictures: int) -> Literal["small", "standard"]:
    """Return "standard" where it takes large inputs and there is enough to learn from, else "small"."""
    large = size >= STANDARD_FROM_PX and pictures >= STANDARD_FROM_PICTURES
    return "standard" if large else "small"


def propose_anchors(annotations: Annotations, size: int, *, usual_scale: float) -> Anchors | None:
    """Return the anchors that cover most boxes when the longer side becomes `size`; None without boxes."""
    targets = annotations.targets
    if not targets.any():
        return None
    owner = np.repeat(np.arange(len(annotations)), np.diff(annotations.first))[targets]
    sides = (annotations.boxes[targets, 2:] - annotations.boxes[targets, :2]) * (
        size / annotations.sizes.max(axis=1)[owner, None]
    )
    tall = np.quantile(sides[:, 1] / sides[:, 0], (0.1, 0.5, 0.9))
    own = tuple(float(round(ratio, 2)) for ratio in np.clip(tall, 0.1, 10.0))
    candidates = [(scale, ratios) for ratios in (USUAL_RATIOS, own) for scale in (usual_scale, *SCALES)]
    usual, *_ = covers = [round(_covered(sides, scale, ratios), 4) for scale, ratios in candidates]
    best = int(np.argmax(np.round(covers, 2)))  # the first of equals: what is usual
    scale, ratios = candidates[best]
    return Anchors(scale=scale, ratios=ratios, covered=covers[best], usual_scale=usual_scale, usual_covered=usual)


def _covered(sides: NDArray[np.float64], scale: float, ratios: tuple[float, ...]) -> float:
    """Return the share of boxes (M, 2) that some anchor of some level covers."""
    best = np.zeros(len(sides))
    for stride in STRIDES:
        for ratio in ratios:
            anchor = scale * stride * np.array([ratio**-0.5, ratio**0.5])
            shared = np.prod(np.minimum(sides, anchor), axis=1)
            best = np.maximum(best, shared / (np.prod(sides, axis=1) + anchor.prod() - shared))
    return float((best >= COVERED_FROM).mean())
