"""What a split holds, in numbers: how large, how dense, how hidden its objects are."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.checks import Checked
from spnas.data.records import OCCLUDED, TRUNCATED, Annotations
from spnas.errors import escape

SMALL, MEDIUM = 32.0**2, 96.0**2  # COCO's bounds of areas, at the original size
SIDES_PX = (4, 8, 16, 32, 64, 96, 128, 256, 512)  # bounds of the histogram of sides
CROWDS = (("0", 0, 1), ("1", 1, 2), ("2-4", 2, 5), ("5-9", 5, 10), ("10-19", 10, 20), ("20+", 20, np.inf))


class SplitSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What can be used of one split; ignore regions are only counted as such.

    per_class: boxes of every class. box_sizes: by COCO's small, medium, large.
    sides_px: boxes by the square root of their area, in pixels of the picture.
    sides_share: the 10th, 50th and 90th percentile of that side as a share of the picture's longer side.
    ratios: the same percentiles of height / width.
    boxes_per_picture: pictures by how many boxes they have; `density` is the mean and the greatest number.
    occluded, truncated: shares of the boxes, None where no box says so.
    """

    role: str
    name: str
    source: str
    images: int
    empty_images: int
    boxes: int
    ignored: int
    per_class: dict[str, int]
    box_sizes: dict[str, int]
    sides_px: dict[str, int]
    sides_share: tuple[float, float, float] | None
    ratios: tuple[float, float, float] | None
    boxes_per_picture: dict[str, int]
    density: tuple[float, int]
    occluded: float | None
    truncated: float | None
    median_size: tuple[int, int]


def summarise(role: str, part: Checked) -> SplitSummary:
    """Count what a split holds."""
    known = part.annotations
    targets = known.targets
    areas = known.areas[targets]
    each = np.diff(known.first)
    sides = known.boxes[targets, 2:] - known.boxes[targets, :2]
    owner = np.repeat(np.arange(len(known)), each)[targets]
    length = np.sqrt(np.prod(sides, axis=1))
    return SplitSummary(
        role=role,
        name=known.name,
        source=escape(part.report.source),
        images=len(known),
        empty_images=int((each == 0).sum()),
        boxes=int(targets.sum()),
        ignored=int((~targets).sum()),
        per_class=_class_counts(known, targets),
        box_sizes={
            "small": int((areas < SMALL).sum()),
            "medium": int(((areas >= SMALL) & (areas < MEDIUM)).sum()),
            "large": int((areas >= MEDIUM).sum()),
        },
        sides_px=_histogram(length),
        sides_share=_percentiles(length / known.sizes.max(axis=1)[owner]) if len(length) else None,
        ratios=_percentiles(sides[:, 1] / sides[:, 0]) if len(length) else None,
        boxes_per_picture={name: int(((each >= low) & (each < high)).sum()) for name, low, high in CROWDS},
        density=(round(float(each.mean()), 3), int(each.max())) if len(each) else (0.0, 0),
        occluded=_share(known, targets, OCCLUDED),
        truncated=_share(known, targets, TRUNCATED),
        median_size=(int(np.median(known.sizes[:, 0])), int(np.median(known.sizes[:, 1]))) if len(known) else (0, 0),
    )


def _histogram(length: NDArray[np.float64]) -> dict[str, int]:
    counts = np.bincount(np.searchsorted(SIDES_PX, length, side="right"), minlength=len(SIDES_PX) + 1)
    bounds = (0, *SIDES_PX)
    names = [f"{low}-{high}" for low, high in zip(bounds, SIDES_PX, strict=False)] + [f"{SIDES_PX[-1]}+"]
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = (round(float(v), 4) for v in np.quantile(values, (0.1, 0.5, 0.9)))
    return low, middle, high


def _share(known: Annotations, targets: NDArray[np.bool_], flag: int) -> float | None:
    flagged = (known.flags[targets] & flag) != 0
    return round(float(flagged.mean()), 4) if flagged.any() else None


def _class_counts(known: Annotations, targets: NDArray[np.bool_]) -> dict[str, int]:
    counts = np.bincount(known.labels[targets], minlength=len(known.classes))
    return {escape(name): int(count) for name, count in zip(known.classes, counts, strict=True)}
