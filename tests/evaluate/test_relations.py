"""What must not change a score, or may change it in one direction only, for random cases."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.evaluate.conftest import random_case

from spnas.data.records import Annotations
from spnas.evaluate.detect import Found
from spnas.evaluate.metrics import bdd, bdd_old, coco, voc

METRICS = {"coco": coco, "voc": voc, "bdd": bdd, "bdd_old": bdd_old}
AREA_FREE = {"ap", "ap50", "ap75", "ap50_2007"}  # what does not ask how large an object is
Case = tuple[Annotations, Found]


def case(seed: int) -> Case:
    """Make a case without ties: equal scores, and equal overlaps, are broken by the order of things."""
    annotations, found = random_case(seed)
    rng = np.random.default_rng(seed + 1)
    boxes = annotations.boxes + rng.uniform(0, 0.4, annotations.boxes.shape)
    scores = rng.permutation(np.linspace(0.05, 0.95, len(found.scores)))
    return msgspec.structs.replace(annotations, boxes=boxes), msgspec.structs.replace(found, scores=scores)


def numbers(metric: str, case: Case) -> dict[str, float]:
    return METRICS[metric].score(*case).values


def permute_pictures(case: Case, rng: np.random.Generator) -> Case:
    annotations, found = case
    order = rng.permutation(len(annotations))
    place = np.argsort(order)
    return annotations.select(order, name="again"), msgspec.structs.replace(found, image_index=place[found.image_index])


def permute_boxes(case: Case, rng: np.random.Generator) -> Case:
    annotations, found = case
    order = np.concatenate(
        [rng.permutation(np.arange(annotations.first[i], annotations.first[i + 1])) for i in range(len(annotations))]
    ).astype(np.int64)
    changed = {name: getattr(annotations, name)[order] for name in ("boxes", "labels", "flags", "areas")}
    return msgspec.structs.replace(annotations, **changed), found


def permute_detections(case: Case, rng: np.random.Generator) -> Case:
    annotations, found = case
    order = rng.permutation(len(found.scores))
    return annotations, msgspec.structs.replace(
        found, **{name: getattr(found, name)[order] for name in ("image_index", "boxes", "scores", "labels")}
    )


def relabel_ids(case: Case, rng: np.random.Generator) -> Case:
    annotations, found = case
    return msgspec.structs.replace(
        annotations,
        image_ids=tuple(rng.permutation(len(annotations)).tolist()),
        box_ids=tuple(0 for _ in annotations.box_ids),
        category_ids=tuple(rng.permutation(len(annotations.classes)).tolist()),
    ), found


def move(case: Case, change: Callable[[np.ndarray], np.ndarray], *, area: float = 1.0) -> Case:
    annotations, found = case
    return (
        msgspec.structs.replace(annotations, boxes=change(annotations.boxes), areas=annotations.areas * area),
        msgspec.structs.replace(found, boxes=change(found.boxes)),
    )


def flip(case: Case, _: np.random.Generator) -> Case:
    return move(case, lambda b: np.stack((200 - b[:, 2], b[:, 1], 200 - b[:, 0], b[:, 3]), 1))


def shift(case: Case, _: np.random.Generator) -> Case:
    return move(case, lambda b: b + 17)


def double(case: Case, _: np.random.Generator) -> Case:
    return move(case, lambda b: b * 2, area=4.0)


def swap_classes(case: Case, rng: np.random.Generator) -> Case:
    annotations, found = case
    place = rng.permutation(len(annotations.classes))
    return (
        msgspec.structs.replace(annotations, labels=place[annotations.labels]),
        msgspec.structs.replace(found, labels=place[found.labels]),
    )


def add_absent_class(case: Case, _: np.random.Generator) -> Case:
    annotations, found = case
    more = {"classes": (*annotations.classes, "absent"), "category_ids": (*annotations.category_ids, 99)}
    return msgspec.structs.replace(annotations, **more), found


def lower_scores(case: Case, _: np.random.Generator) -> Case:
    annotations, found = case
    return annotations, msgspec.structs.replace(found, scores=found.scores**3 / 7)


def twice(case: Case, _: np.random.Generator) -> Case:
    annotations, found = case
    count, boxes = len(annotations), len(annotations.labels)
    doubled = {name: np.concatenate([getattr(annotations, name)] * 2) for name in ("boxes", "labels", "flags", "areas")}
    return msgspec.structs.replace(
        annotations,
        files=annotations.files + tuple(f"again {f}" for f in annotations.files),
        image_ids=tuple(range(2 * count)),
        box_ids=annotations.box_ids * 2,
        sizes=np.concatenate([annotations.sizes] * 2),
        first=np.concatenate((annotations.first, annotations.first[1:] + boxes)),
        **doubled,
    ), msgspec.structs.replace(
        found,
        image_index=np.concatenate((found.image_index, found.image_index + count)),
        **{name: np.concatenate([getattr(found, name)] * 2) for name in ("boxes", "scores", "labels")},
    )


SAME: dict[str, tuple[Callable[[Case, np.random.Generator], Case], set[str]]] = {
    "permuted pictures": (permute_pictures, set(METRICS)),
    "permuted objects": (permute_boxes, set(METRICS)),
    "permuted detections": (permute_detections, set(METRICS)),
    "other ids": (relabel_ids, set(METRICS)),
    "pictures flipped": (flip, set(METRICS)),
    "pictures shifted": (shift, set(METRICS)),
    "pictures twice as large": (double, {"coco", "voc"}),  # a last pixel does not grow with the picture
    "classes swapped": (swap_classes, set(METRICS)),
    "a class that is not there": (add_absent_class, set(METRICS)),
    "scores lowered by a monotone map": (lower_scores, set(METRICS)),
    "every picture twice": (twice, set(METRICS)),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", SAME)
@given(seed=st.integers(0, 2**32 - 2))
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_these_change_nothing(name: str, metric: str, seed: int) -> None:
    change, applies = SAME[name]
    if metric not in applies:
        return
    before = case(seed)
    after = change(before, np.random.default_rng(seed))
    expected, got = numbers(metric, before), numbers(metric, after)
    if name == "pictures twice as large":
        expected, got = ({k: v for k, v in d.items() if k in AREA_FREE} for d in (expected, got))
    assert got == pytest.approx(expected, abs=1e-9, nan_ok=True)


def chosen(found: Found, mask: np.ndarray) -> Found:
    return Found(
        image_index=found.image_index[mask],
        boxes=found.boxes[mask],
        scores=found.scores[mask],
        labels=found.labels[mask],
    )


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 2**32 - 2))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_dropping_low_scores_never_helps(metric: str, seed: int) -> None:
    annotations, found = case(seed)
    full = METRICS[metric].score(annotations, found)
    dropped = numbers(metric, (annotations, chosen(found, found.scores > 0.4)))[full.main]
    assert dropped <= full.values[full.main] + 1e-12 or np.isnan(dropped)


@pytest.mark.parametrize("metric", METRICS)
@given(seed=st.integers(0, 2**32 - 2))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_finding_what_nothing_was_found_of_never_hurts(metric: str, seed: int) -> None:
    annotations, found = case(seed)
    targets = np.flatnonzero(annotations.flags == 0)
    assume(len(targets))
    owner = np.repeat(np.arange(len(annotations)), np.diff(annotations.first))
    row = targets[:1]
    elsewhere = chosen(found, (found.image_index != owner[row]) | (found.labels != annotations.labels[row]))
    more = Found(
        image_index=np.concatenate((owner[row], elsewhere.image_index)),
        boxes=np.concatenate((annotations.boxes[row], elsewhere.boxes)),
        scores=np.concatenate(([1.0], elsewhere.scores)),
        labels=np.concatenate((annotations.labels[row], elsewhere.labels)),
    )
    before = METRICS[metric].score(annotations, elsewhere)
    assert numbers(metric, (annotations, more))[before.main] >= before.values[before.main] - 1e-12


@pytest.mark.parametrize("metric", METRICS)
def test_a_class_that_is_never_found_pulls_the_mean_down_by_its_share(metric: str) -> None:
    annotations, found = case(11)
    classes = len({int(k) for k in annotations.labels[annotations.flags == 0]})
    main = METRICS[metric].score(annotations, found).main
    boxes = np.concatenate((annotations.boxes, [[150.0, 150.0, 170.0, 190.0]]))
    grown = msgspec.structs.replace(
        annotations,
        classes=(*annotations.classes, "never found"),
        category_ids=(*annotations.category_ids, 99),
        box_ids=(*annotations.box_ids, 99),
        first=np.concatenate((annotations.first[:-1], [len(boxes)])),
        boxes=boxes,
        labels=np.append(annotations.labels, len(annotations.classes)),
        flags=np.append(annotations.flags, np.uint8(0)),
        areas=np.append(annotations.areas, 800.0),
    )
    before, after = numbers(metric, (annotations, found))[main], numbers(metric, (grown, found))[main]
    assert before > 0
    assert after == pytest.approx(before * classes / (classes + 1))
    assert METRICS[metric].score(grown, found).per_class["never found"] == 0.0
