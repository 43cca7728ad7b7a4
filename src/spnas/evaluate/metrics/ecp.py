"""EuroCity Persons LAMR: log-average miss rate at 9 points from .01 to 1 false positives per picture, IoU >= .5.

Four difficulties for pedestrians and for riders, each in two ways: other vulnerable road users are left out, so that
finding a rider as a pedestrian is a miss (what the benchmark's server does, and the plain names here), or they are
ignored (names ending in `_ignore_other_vru`). Lower is better; a detector that finds nothing has 1.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.records import BEHIND_GLASS, DEPICTION, NO_PARENT, SITTING_LYING, Annotations, Details
from spnas.errors import UsageError
from spnas.evaluate.detect import Found
from spnas.evaluate.metrics import Curve, Scores
from spnas.evaluate.miss_rate import Judged, curve, log_average
from spnas.evaluate.overlaps import Boxes, Overlaps, overlaps

KINDS = {"pedestrian": ("pedestrian",), "rider": ("rider", "cyclist")}  # and what detections of it may be called
REGIONS = {"pedestrian": "person-group-far-away", "rider": "rider+vehicle-group-far-away"}
TOLERANCE = 1.25  # a detection this much beyond the limits of height still counts
FIT = 0.5


class Difficulty(msgspec.Struct, frozen=True):
    """Which objects are targets: heights in pixels, hidden and cut off parts in percent (from, up to but without)."""

    least_px: float
    most_px: float
    hidden_from: int
    hidden_to: int


DIFFICULTIES = {
    "reasonable": Difficulty(40, np.inf, 0, 40),
    "small": Difficulty(30, 60, 0, 40),
    "occluded": Difficulty(40, np.inf, 40, 80),
    "all": Difficulty(20, np.inf, 0, 80),
}


class Side(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Objects and detections prepared for one kind.

    Shapes, M objects and K detections: own, other, region (M,) which are of the kind, of the other kind, don't-care
    regions; heights (M,); found (K,) detections of the kind; found_heights (K,); pairs over all of these.
    """

    own: NDArray[np.bool_]
    other: NDArray[np.bool_]
    region: NDArray[np.bool_]
    heights: NDArray[np.float64]
    found: NDArray[np.bool_]
    found_heights: NDArray[np.float64]
    pairs: Overlaps


def check(annotations: Annotations) -> None:
    """Make sure that there are tags to go by, and classes to judge."""
    if annotations.details is None:
        raise UsageError(
            "metric ecp needs occlusion, truncation and tags of EuroCity Persons, which this data does not have; "
            "give data of format ecp, or another --metric"
        )
    if not any(_labels(annotations.classes, kind) for kind in KINDS):
        raise UsageError(
            f"metric ecp judges the classes pedestrian and rider; data has {', '.join(annotations.classes[:8])}"
        )


def score(annotations: Annotations, found: Found) -> Scores:
    """Return LAMR of all settings with their curves; NaN where there is no target.

    Raises: UsageError when the data has no tags, or neither of the classes.
    """
    check(annotations)
    details = annotations.details
    assert details is not None
    values: dict[str, float] = {}
    curves: dict[str, Curve] = {}
    kinds = [kind for kind in KINDS if _labels(annotations.classes, kind)]
    for kind in kinds:
        side = _prepare(annotations, found, details, kind=kind)
        for difficulty, limits in DIFFICULTIES.items():
            for ending, ignore_other in (("", False), ("_ignore_other_vru", True)):
                name = f"{kind}_{difficulty}{ending}"
                target = side.own & _is_target(side, details, limits, kind=kind)
                ignored = (side.own & ~target) | side.region | (side.other & ignore_other)
                hit, counts = _match(side, found, limits, target=target, ignored=ignored)
                judged = Judged(
                    scores=found.scores[counts],
                    hit=hit[counts],
                    objects=int(target.sum()),
                    pictures=len(annotations),
                )
                values[name] = log_average(judged) if judged.objects else float("nan")
                if judged.objects:
                    curves[name] = curve(judged)
    return Scores(
        protocol="EuroCity Persons LAMR, IoU .5",
        main=f"{kinds[0]}_reasonable",
        values=values,
        per_class={kind: values[f"{kind}_reasonable"] for kind in kinds},
        lower_is_better=True,
        curves=curves,
    )


def _labels(classes: tuple[str, ...], kind: str) -> list[int]:
    return [i for i, name in enumerate(classes) if name.casefold() in KINDS[kind]]


def _prepare(annotations: Annotations, found: Found, details: Details, *, kind: str) -> Side:
    """Tell the roles of boxes for this kind, and pair what overlaps; boxes are clipped to their pictures."""
    identity = np.array(details.identity, dtype=np.str_)
    own = identity == kind
    other = np.isin(identity, [k for k in KINDS if k != kind])
    region = identity == REGIONS[kind]
    if kind == "pedestrian":  # depicted groups of persons are left out; groups of riders are not asked about
        region &= (details.tags & DEPICTION) == 0
    boxes = _with_vehicles(annotations.boxes, details.parent) if kind == "rider" else annotations.boxes
    image_index = np.repeat(np.arange(len(annotations)), np.diff(annotations.first))
    boxes = _clip(boxes, annotations.sizes[image_index])
    found_boxes = _clip(found.boxes, annotations.sizes[found.image_index])
    mine = np.isin(found.labels, _labels(annotations.classes, kind))
    pairs = overlaps(
        Boxes(boxes=boxes, group=np.where(own | other | region, image_index, -1)),
        Boxes(boxes=found_boxes, group=np.where(mine, found.image_index, -2)),
        at_least=FIT,
        of_found=region,
    )
    return Side(
        own=own,
        other=other,
        region=region,
        heights=boxes[:, 3] - boxes[:, 1],
        found=mine,
        found_heights=found_boxes[:, 3] - found_boxes[:, 1],
        pairs=pairs,
    )


def _with_vehicles(boxes: NDArray[np.float64], parent: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the boxes (M, 4), those of riders around their vehicles, too."""
    vehicles = np.flatnonzero(parent != NO_PARENT)
    grown = boxes.copy()
    np.minimum.at(grown[:, :2], parent[vehicles], boxes[vehicles, :2])
    np.maximum.at(grown[:, 2:], parent[vehicles], boxes[vehicles, 2:])
    return grown


def _clip(boxes: NDArray[np.float64], sizes: NDArray[np.int32]) -> NDArray[np.float64]:
    return np.clip(boxes, 0, np.tile(sizes, 2))


def _is_target(side: Side, details: Details, limits: Difficulty, *, kind: str) -> NDArray[np.bool_]:
    """Return which objects (M,) meet the limits; pedestrians that sit, lie or are behind glass never do."""
    hidden = np.round(100 * np.nan_to_num(details.occlusion))
    cut = np.round(100 * np.nan_to_num(details.truncation))
    fits = (side.heights >= limits.least_px) & (side.heights <= limits.most_px)
    fits &= (hidden >= limits.hidden_from) & (hidden < limits.hidden_to) & (cut < limits.hidden_to)
    if kind == "pedestrian":
        fits &= (details.tags & (SITTING_LYING | BEHIND_GLASS)) == 0
    return np.asarray(fits)


def _match(
    side: Side, found: Found, limits: Difficulty, *, target: NDArray[np.bool_], ignored: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which detections (K,) are hits, and which count.

    By falling score, a detection takes the free target that it overlaps most, the later one of equals; failing that,
    anything ignored that it fits makes it neither hit nor miss, however many fit the same.
    """
    counts = side.found & (side.found_heights > limits.least_px / TOLERANCE)
    counts &= side.found_heights < limits.most_px * TOLERANCE
    rank = np.empty(len(found.scores), np.int64)
    rank[np.argsort(-found.scores, kind="stable")] = np.arange(len(rank))
    pairs = side.pairs.where(counts[side.pairs.found])
    wanted = pairs.where(target[pairs.truth])
    order = np.lexsort((-wanted.truth, -wanted.overlap, rank[wanted.found]))
    hit = np.zeros(len(found.scores), np.bool_)
    taken: set[int] = set()
    last = -1
    for row, truth in zip(wanted.found[order].tolist(), wanted.truth[order].tolist(), strict=True):
        if row != last and truth not in taken:
            taken.add(truth)
            hit[row], last = True, row
    beside = pairs.found[ignored[pairs.truth]]
    neither = np.zeros_like(hit)
    neither[beside] = True
    return hit, counts & (hit | ~neither)
