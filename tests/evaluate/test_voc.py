import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.evaluate.conftest import annotations_of, found_of, random_case

from spnas.data.records import DIFFICULT, Annotations
from spnas.evaluate.detect import Found
from spnas.evaluate.metrics.voc import score


def read(folder: Path) -> tuple[Annotations, Found]:
    """Read the example's files: label, score, x, y, width, height a line, corners x + width taken as they are."""
    stems = sorted(p.stem for p in (folder / "gts").glob("*.txt"))
    boxes, rows = [], []
    for image, stem in enumerate(stems):
        objects = [line.split() for line in (folder / "gts" / f"{stem}.txt").read_text().splitlines()]
        boxes.append([tuple(map(float, words[1:])) for words in objects])
        for line in (folder / "dets" / f"{stem}.txt").read_text().splitlines():
            _, value, *box = line.split()
            x, y, w, h = map(float, box)
            rows.append((image, (x, y, x + w, y + h), float(value), 0))
    nothing = [[False] * len(row) for row in boxes]
    return annotations_of(boxes, [[0] * len(row) for row in boxes], crowd=nothing, classes=1), found_of(rows)


@pytest.mark.parametrize(
    ("iou", "inclusive", "area", "points"),
    [
        (0.1, True, 0.3371980676, 0.3333333333),
        (0.3, True, 0.2456866804, 0.2683982683),
        (0.5, True, 0.0222222222, 0.0303030303),
        (0.75, True, 0.0, 0.0),
        (0.1, False, 0.2801328502, 0.3024538867),
    ],
)
def test_the_known_example_scores_as_published(
    shared: Path, iou: float, inclusive: bool, area: float, points: float
) -> None:
    got = score(*read(shared / "fixtures" / "voc_case1"), iou=iou, inclusive=inclusive)
    name = f"ap{100 * iou:.0f}"
    assert got.main == name
    assert got.values == pytest.approx({name: area, f"{name}_2007": points}, abs=1e-10)


@pytest.mark.parametrize("iou", [0.1, 0.3, 0.5, 0.75])
def test_a_last_pixel_that_is_included_is_an_end_one_further(shared: Path, iou: float) -> None:
    """VOC's reader stores xmin - 1, ymin - 1, xmax, ymax; on such boxes nothing may be added."""
    annotations, found = read(shared / "fixtures" / "voc_case1")
    less = np.array([1.0, 1.0, 0.0, 0.0])
    half_open = (
        msgspec.structs.replace(annotations, boxes=annotations.boxes - less),
        msgspec.structs.replace(found, boxes=found.boxes - less),
    )
    assert score(*half_open, iou=iou).values == score(annotations, found, iou=iou, inclusive=True).values


def plain(annotations: Annotations, found: Found, *, iou: float) -> tuple[list[float], list[float]]:
    """Score as the devkit's paper describes it, one detection after the other."""
    areas, points = [], []
    for label in range(len(annotations.classes)):
        taken: set[int] = set()
        hits = misses = 0
        curve = []
        wanted = sum(k == label and not f for k, f in zip(annotations.labels, annotations.flags, strict=True))
        rows = sorted(np.flatnonzero(found.labels == label), key=lambda r: (-found.scores[r], found.image_index[r], r))
        for row in rows:
            best, share = None, -1.0
            for n in range(*annotations.rows(int(found.image_index[row])).indices(10**9)[:2]):
                a, b = annotations.boxes[n], found.boxes[row]
                w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
                if annotations.labels[n] == label and w > 0 and h > 0:
                    whole = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
                    if w * h / whole > share:
                        best, share = n, w * h / whole
            if best is not None and share >= iou and annotations.flags[best]:
                continue
            if best is not None and share >= iou and best not in taken:
                taken.add(best)
                hits += 1
            else:
                misses += 1
            curve.append((hits / max(wanted, 1), hits / (hits + misses)))
        best_after = [max(p for _, p in curve[k:]) for k in range(len(curve))]
        steps = [r - s for (r, _), s in zip(curve, [0.0, *(r for r, _ in curve)], strict=False)]
        areas.append(sum(s * p for s, p in zip(steps, best_after, strict=True)) if wanted else math.nan)
        levels = [max([p for r, p in curve if r >= 0.1 * k], default=0.0) for k in range(11)]
        points.append(sum(levels) / 11 if wanted else math.nan)
    return areas, points


@pytest.mark.parametrize("seed", range(40))
def test_it_equals_a_plain_loop_over_detections(seed: int) -> None:
    annotations, found = random_case(seed)
    flags = np.where(annotations.flags != 0, DIFFICULT, 0).astype(np.uint8)
    annotations = msgspec.structs.replace(annotations, flags=flags)
    areas, points = plain(annotations, found, iou=0.5)
    got = score(annotations, found)
    assert list(got.per_class.values()) == pytest.approx(areas, abs=1e-12, nan_ok=True)
    if any(flags == 0):
        assert got.values["ap50"] == pytest.approx(np.nanmean(areas), abs=1e-12)
        assert got.values["ap50_2007"] == pytest.approx(np.nanmean(points), abs=1e-12)


def one_difficult() -> Annotations:
    boxes = [[(10.0, 10.0, 40.0, 40.0), (100.0, 100.0, 40.0, 40.0)]]
    made = annotations_of(boxes, [[0, 0]], crowd=[[False, False]], classes=1)
    return msgspec.structs.replace(made, flags=np.array([0, DIFFICULT], np.uint8))


def test_difficult_objects_are_neither_hit_nor_miss() -> None:
    annotations = one_difficult()
    easy, hard = (0, (10.0, 10.0, 50.0, 50.0), 0.5, 0), (0, (100.0, 100.0, 140.0, 140.0), 0.9, 0)
    for rows in ([easy], [easy, hard], [easy, hard, hard]):
        assert score(annotations, found_of(rows)).values == {"ap50": 1.0, "ap50_2007": 1.0}
    assert score(annotations, found_of([hard])).values["ap50"] == 0.0


def test_the_second_detection_of_an_object_is_a_miss_though_another_object_is_free() -> None:
    near = [[(10.0, 10.0, 40.0, 40.0), (12.0, 10.0, 40.0, 40.0)]]
    annotations = annotations_of(near, [[0, 0]], crowd=[[False, False]], classes=1)
    twice = found_of([(0, (10.0, 10.0, 50.0, 50.0), s, 0) for s in (0.9, 0.8)])
    assert score(annotations, twice).values["ap50"] == pytest.approx(0.5)


def test_without_objects_there_is_no_number_and_without_detections_it_is_0() -> None:
    annotations = annotations_of([[(10.0, 10.0, 40.0, 40.0)]], [[0]], crowd=[[False]], classes=2)
    silent = score(annotations, found_of([]))
    assert silent.values == {"ap50": 0.0, "ap50_2007": 0.0}
    assert silent.per_class["class 0"] == 0.0
    assert math.isnan(silent.per_class["class 1"])
    empty = annotations_of([[]], [[]], crowd=[[]], classes=1)
    assert math.isnan(score(empty, found_of([(0, (0.0, 0.0, 9.0, 9.0), 0.5, 0)])).values["ap50"])
