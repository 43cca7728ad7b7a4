import json
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.evaluate.conftest import annotations_of, found_of, from_document, oracle, perfect, random_case

from spnas.evaluate.detect import Found
from spnas.evaluate.metrics.coco import NAMES, ground_truth, results, score


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("decade", range(30))
def test_ap_equals_pycocotools_whatever_the_ids(decade: int) -> None:
    for seed in range(10 * decade, 10 * decade + 10):
        annotations, found = random_case(seed)
        expected = oracle(ground_truth(annotations), results(annotations, found))
        ids = tuple(max(n - seed % 3, 0) for n in annotations.box_ids)  # from 0; often 0 more than once
        got = score(msgspec.structs.replace(annotations, box_ids=ids), found).values
        for name, value in zip(NAMES, expected, strict=True):
            if value == -1:
                assert math.isnan(got[name])
            else:
                assert got[name] == pytest.approx(value, abs=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ids_of_0_mislead_the_official_evaluator_which_is_why_boxes_are_numbered_anew() -> None:
    annotations = annotations_of([[(10.0, 10.0, 40.0, 40.0)]], [[0]], crowd=[[False]], classes=1)
    document = ground_truth(annotations)
    assert oracle(document, results(annotations, perfect(annotations)))[0] == pytest.approx(1.0)
    document["annotations"][0]["id"] = 0
    assert oracle(document, results(annotations, perfect(annotations)))[0] == 0.0
    assert score(annotations, perfect(annotations)).values["ap"] == pytest.approx(1.0)


def test_the_official_example_scores_as_published(shared: Path) -> None:
    folder = shared / "fixtures" / "coco_fakebbox100"
    document = json.loads((folder / "instances_val2014_100.json").read_text())
    expected = json.loads((folder / "expected_fakebbox100.json").read_text())
    annotations = from_document(document)
    detections = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    image = {i: n for n, i in enumerate(annotations.image_ids)}
    label = {i: n for n, i in enumerate(annotations.category_ids)}
    boxes = np.array([d["bbox"] for d in detections], np.float64)
    found = Found(
        image_index=np.array([image[d["image_id"]] for d in detections], np.int64),
        boxes=np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1),
        scores=np.array([d["score"] for d in detections], np.float64),
        labels=np.array([label[d["category_id"]] for d in detections], np.int64),
    )
    got = score(annotations, found).values
    assert [got[name] for name in NAMES] == pytest.approx(expected["bbox"], abs=1e-12)


def test_a_perfect_detector_has_ap_1_and_a_silent_one_0() -> None:
    annotations, _ = random_case(4)
    assert score(annotations, perfect(annotations)).values["ap"] == pytest.approx(1.0)
    nothing = Found(
        image_index=np.zeros(0, np.int64), boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, np.int64)
    )
    silent = score(annotations, nothing)
    assert silent.values["ap"] == 0.0
    missing = Found(
        image_index=np.array([0]),
        boxes=np.array([[190.0, 190.0, 199.0, 199.0]]),
        scores=np.array([0.1]),
        labels=np.array([0]),
    )
    wrong = score(annotations, missing)
    assert {k: v for k, v in wrong.values.items() if v == v} == {k: v for k, v in silent.values.items() if v == v}
    assert {k for k, v in wrong.values.items() if v != v} == {k for k, v in silent.values.items() if v != v}


def test_a_class_without_objects_is_unknown_not_zero() -> None:
    annotations = annotations_of([[(10.0, 10.0, 40.0, 40.0)]], [[0]], crowd=[[False]], classes=2)
    per_class = score(annotations, perfect(annotations)).per_class
    assert per_class["class 0"] == pytest.approx(1.0)
    assert math.isnan(per_class["class 1"])


def test_an_object_on_the_border_of_two_sizes_belongs_to_both_also_when_nothing_is_found() -> None:
    annotations = annotations_of([[(10.0, 10.0, 32.0, 32.0)]], [[0]], crowd=[[False]], classes=1)
    silent = score(annotations, found_of([])).values
    assert silent == pytest.approx(
        score(annotations, found_of([(0, (150.0, 150.0, 190.0, 190.0), 0.5, 0)])).values, nan_ok=True
    )
    assert silent["ap_small"] == silent["ap_medium"] == 0.0
    assert math.isnan(silent["ap_large"])
