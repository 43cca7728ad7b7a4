import json
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.evaluate.conftest import annotations_of, found_of

from spnas.data.open import open_split
from spnas.data.records import BEHIND_GLASS, DEPICTION, NO_PARENT, SITTING_LYING, Annotations, Details
from spnas.errors import UsageError
from spnas.evaluate.detect import Found
from spnas.evaluate.frames import read_folder
from spnas.evaluate.metrics import ecp
from spnas.evaluate.miss_rate import FLOOR, KEPT, REFERENCES

SETTINGS = [
    f"{kind}/{difficulty}/ignore_other_vru={ignore}"
    for kind in ("pedestrian", "rider")
    for difficulty in ("reasonable", "small", "occluded", "all")
    for ignore in (True, False)
]
Box = tuple[float, float, float, float]


@pytest.fixture(scope="module")
def example(shared: Path) -> tuple[Annotations, Found]:
    folder = shared / "fixtures" / "ecp_synth"
    annotations = open_split(folder, split="val", format="ecp", with_pictures=False)
    return annotations, read_folder(folder / "detections", annotations)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_benchmarks_own_code_gives_the_same(shared: Path, example: tuple[Annotations, Found], setting: str) -> None:
    expected = json.loads((shared / "fixtures" / "ecp_synth" / "expected_ecpb.json").read_text())
    assert set(expected) == set(SETTINGS)
    kind, difficulty, ignore = setting.split("/")
    name = f"{kind}_{difficulty}" + ("_ignore_other_vru" if ignore.endswith("True") else "")
    assert ecp.score(*example).values[name] == pytest.approx(expected[setting]["lamr"], abs=1e-9)


def test_lamr_is_the_geometric_mean_of_its_curve_at_nine_points(example: tuple[Annotations, Found]) -> None:
    got = ecp.score(*example)
    assert got.lower_is_better
    assert set(got.curves) == set(got.values)
    for name, curve in got.curves.items():
        rates = dict(zip(curve.x, curve.y, strict=True))
        assert sorted(curve.y, reverse=True) == list(curve.y)
        logs = [math.log(max(rates[x], FLOOR)) for x in REFERENCES.tolist()]
        assert got.values[name] == pytest.approx(math.exp(sum(logs) / 9), abs=1e-12)
    assert np.diff(KEPT).min() > 0


def street(*things: tuple[str, Box], **details: list[float]) -> Annotations:
    """Make one picture of 1920 x 1024 with these things; boxes are corners."""
    boxes = [(x1, y1, x2 - x1, y2 - y1) for _, (x1, y1, x2, y2) in things]
    made = annotations_of([boxes], [[0] * len(boxes)], crowd=[[False] * len(boxes)], classes=2)
    zeros = [0.0] * len(boxes)
    return msgspec.structs.replace(
        made,
        classes=("pedestrian", "rider"),
        sizes=np.array([[1920, 1024]], np.int32),
        details=Details(
            identity=tuple(name for name, _ in things),
            occlusion=np.array(details.get("occlusion", zeros), np.float64),
            truncation=np.array(details.get("truncation", zeros), np.float64),
            tags=np.array(details.get("tags", zeros), np.uint8),
            parent=np.array(details.get("parent", [NO_PARENT] * len(boxes)), np.int64),
        ),
    )


def lamr(annotations: Annotations, *boxes: Box, kind: str = "pedestrian", name: str | None = None) -> float:
    label = ("pedestrian", "rider").index(kind)
    found = found_of([(0, box, 0.9 - 0.1 * n, label) for n, box in enumerate(boxes)])
    return ecp.score(annotations, found).values[name or f"{kind}_reasonable"]


HERE: Box = (100.0, 100.0, 140.0, 200.0)
THERE: Box = (500.0, 100.0, 540.0, 200.0)
PERFECT = FLOOR


def test_all_found_is_as_good_as_0_and_nothing_found_is_1() -> None:
    annotations = street(("pedestrian", HERE))
    assert lamr(annotations, HERE) == pytest.approx(PERFECT)
    assert lamr(annotations) == 1.0
    assert lamr(annotations, THERE, HERE) == pytest.approx(
        (1.0**8 * PERFECT) ** (1 / 9)
    )  # a miss first: only at 1 fppi
    assert math.isnan(lamr(annotations, kind="rider"))


@pytest.mark.parametrize("tag", [SITTING_LYING, BEHIND_GLASS])
def test_who_sits_lies_or_is_behind_glass_is_ignored(tag: int) -> None:
    annotations = street(("pedestrian", HERE), ("pedestrian", THERE), tags=[0, tag])
    assert lamr(annotations, THERE, HERE) == pytest.approx(PERFECT)
    assert lamr(annotations, THERE, THERE, HERE) == pytest.approx(PERFECT)  # however often


def test_hidden_and_cut_off_parts_decide_on_the_difficulty() -> None:
    for column in ("occlusion", "truncation"):
        for share, reasonable, everything in ((0.1, 1.0, 1.0), (0.4, math.nan, 1.0), (0.8, math.nan, math.nan)):
            annotations = street(("pedestrian", HERE), **{column: [share]})
            assert lamr(annotations) == pytest.approx(reasonable, nan_ok=True)
            assert lamr(annotations, name="pedestrian_all") == pytest.approx(everything, nan_ok=True)
    half_hidden = street(("pedestrian", HERE), occlusion=[0.4])
    assert lamr(half_hidden, HERE, name="pedestrian_occluded") == pytest.approx(PERFECT)
    assert math.isnan(lamr(street(("pedestrian", HERE)), name="pedestrian_occluded"))


def test_heights_decide_and_detections_have_a_tolerance() -> None:
    low: Box = (500.0, 100.0, 520.0, 132.0)
    annotations = street(("pedestrian", HERE))
    assert lamr(annotations, low, HERE) == pytest.approx(PERFECT)  # 32 is 40 / 1.25: not looked at
    assert lamr(annotations, (500.0, 100.0, 520.0, 132.1), HERE) == pytest.approx(PERFECT ** (1 / 9))
    sixty = street(("pedestrian", (0.0, 0.0, 20.0, 60.0)), ("pedestrian", (300.0, 0.0, 330.0, 61.0)))
    assert lamr(sixty, (0.0, 0.0, 20.0, 60.0), name="pedestrian_small") == pytest.approx(PERFECT)
    tall: Box = (700.0, 0.0, 720.0, 75.0)
    assert lamr(sixty, tall, (0.0, 0.0, 20.0, 60.0), name="pedestrian_small") == pytest.approx(PERFECT)


def test_groups_swallow_detections_by_the_share_of_these_unless_depicted() -> None:
    group: Box = (400.0, 50.0, 900.0, 400.0)
    for tag, value in ((0, PERFECT), (DEPICTION, PERFECT ** (1 / 9))):
        annotations = street(("pedestrian", HERE), ("person-group-far-away", group), tags=[0, tag])
        assert lamr(annotations, THERE, HERE) == pytest.approx(value)


def test_other_road_users_are_left_out_or_ignored() -> None:
    annotations = street(("pedestrian", HERE), ("rider", THERE))
    assert lamr(annotations, THERE, HERE) == pytest.approx(PERFECT ** (1 / 9))
    assert lamr(annotations, THERE, HERE, name="pedestrian_reasonable_ignore_other_vru") == pytest.approx(PERFECT)


def test_a_rider_is_as_large_as_rider_and_vehicle_together() -> None:
    bicycle: Box = (80.0, 150.0, 180.0, 260.0)
    annotations = street(("rider", HERE), ("bicycle", bicycle), parent=[NO_PARENT, 0])
    both: Box = (80.0, 100.0, 180.0, 260.0)
    assert lamr(annotations, both, kind="rider") == pytest.approx(PERFECT)
    assert lamr(annotations, HERE, kind="rider") == 1.0
    alone = street(("pedestrian", THERE), ("rider", HERE), ("bicycle", bicycle), parent=[NO_PARENT, NO_PARENT, 1])
    name = "pedestrian_reasonable_ignore_other_vru"
    assert lamr(alone, HERE, THERE, name=name) == pytest.approx(PERFECT)  # as a road user beside, without it


def test_the_later_of_two_equally_fitting_objects_is_taken() -> None:
    left, right = (100.0, 0.0, 200.0, 100.0), (120.0, 0.0, 220.0, 100.0)
    between: Box = (110.0, 0.0, 210.0, 100.0)
    annotations = street(("pedestrian", left), ("pedestrian", right))
    for_left_only: Box = (75.0, 0.0, 175.0, 100.0)
    assert lamr(annotations, between, for_left_only) == pytest.approx(PERFECT)
    swapped = street(("pedestrian", right), ("pedestrian", left))
    assert lamr(swapped, between, for_left_only) == pytest.approx(0.5)


def test_boxes_end_at_the_border_of_the_picture() -> None:
    annotations = street(("pedestrian", (1900.0, 900.0, 1920.0, 1024.0)))
    assert lamr(annotations, (1900.0, 900.0, 1990.0, 1190.0)) == pytest.approx(PERFECT)


def test_data_without_tags_is_refused_in_one_line() -> None:
    plain = annotations_of([[(10.0, 10.0, 40.0, 40.0)]], [[0]], crowd=[[False]], classes=1)
    with pytest.raises(UsageError, match="metric ecp needs occlusion, truncation and tags"):
        ecp.score(plain, found_of([]))
    renamed = msgspec.structs.replace(street(("pedestrian", HERE)), classes=("cat", "dog"))
    with pytest.raises(UsageError, match="judges the classes pedestrian and rider; data has cat, dog"):
        ecp.check(renamed)
