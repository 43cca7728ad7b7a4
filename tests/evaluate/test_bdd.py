import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.evaluate.conftest import annotations_of, found_of, oracle, random_case

from spnas.data.open import open_split
from spnas.data.records import Annotations
from spnas.evaluate.average_precision import NAMES
from spnas.evaluate.detect import Found
from spnas.evaluate.metrics import bdd, bdd_old, coco
from spnas.evaluate.results import read_results


@pytest.fixture(scope="module")
def sample(shared: Path) -> tuple[Annotations, Found]:
    folder = shared / "fixtures" / "scalabel_det"
    file = folder / "track_sample_anns.json"
    annotations = open_split(file, split=file.name, format="bdd", with_pictures=False)
    return annotations, read_results(folder / "bbox_predictions.json", annotations)


def test_the_sample_is_read_whole(sample: tuple[Annotations, Found]) -> None:
    annotations, found = sample
    assert (len(annotations), len(annotations.labels), len(found.scores)) == (202, 3241, 5372)
    assert (annotations.flags & 1).sum() == 132


def test_the_toolkits_sample_scores_as_published(sample: tuple[Annotations, Found]) -> None:
    got = bdd.score(*sample)
    known = {
        "ap": 34.029392668401016,
        "ap50": 55.323900409039695,
        "ap75": 34.93873359997877,
        "ap_small": 20.91624813537171,
        "ap_medium": 48.4364652499885,
        "ap_large": 64.28530466767323,
    }
    assert {name: 100 * got.values[name] for name in known} == pytest.approx(known, abs=1e-9)
    per_class = {"pedestrian": 41.3767, "rider": 41.7099, "car": 66.1419, "truck": 50.0708, "bus": 0.3025}
    per_class["motorcycle"] = 4.5746
    assert {name: 100 * got.per_class[name] for name in per_class} == pytest.approx(per_class, abs=5e-5)
    assert all(math.isnan(got.per_class[name]) for name in ("train", "bicycle", "traffic light", "traffic sign"))


def test_the_evaluator_of_2018_scores_as_published(sample: tuple[Annotations, Found]) -> None:
    got = bdd_old.score(*sample)
    assert got.values == {"ap75": pytest.approx(0.3448465133, abs=1e-10)}
    assert {name for name, value in got.per_class.items() if value == value} == set(list(got.per_class)[:7]) - {"train"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(10))
def test_it_is_cocos_protocol_over_boxes_one_pixel_larger(seed: int) -> None:
    annotations, found = random_case(seed)
    grow = np.array([0.0, 0.0, 1.0, 1.0])
    larger = msgspec.structs.replace(annotations, boxes=annotations.boxes + grow)
    larger = msgspec.structs.replace(larger, areas=np.prod(larger.boxes[:, 2:] - larger.boxes[:, :2], axis=1))
    grown = msgspec.structs.replace(found, boxes=found.boxes + grow)
    expected = oracle(coco.ground_truth(larger), coco.results(larger, grown))
    got = bdd.score(annotations, found).values
    for name, value in zip(NAMES, expected, strict=True):
        assert got[name] == pytest.approx(value if value > -1 else math.nan, abs=1e-12, nan_ok=True)


def test_a_box_of_one_pixel_has_an_area() -> None:
    annotations = annotations_of([[(10.0, 10.0, 0.0, 0.0)]], [[0]], crowd=[[False]], classes=1)
    assert bdd.score(annotations, found_of([(0, (10.0, 10.0, 10.0, 10.0), 0.5, 0)])).values["ap"] == pytest.approx(1.0)


def test_the_evaluator_of_2018_wants_more_than_three_quarters_and_counts_crowds() -> None:
    annotations = annotations_of([[(0.0, 0.0, 99.0, 99.0)]], [[0]], crowd=[[True]], classes=1)
    for width, value in ((74.0, 0.0), (75.0, 1.0)):  # 75 and 76 of 100 pixels
        assert bdd_old.score(annotations, found_of([(0, (0.0, 0.0, width, 99.0), 0.5, 0)])).values["ap75"] == value
    assert math.isnan(bdd.score(annotations, found_of([(0, (0.0, 0.0, 99.0, 99.0), 0.5, 0)])).values["ap"])
