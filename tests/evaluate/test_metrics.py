"""What every metric on the shelf has in common, and judging detections made elsewhere from the task down."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.evaluate.conftest import found_of, perfect

from spnas import tasks
from spnas.data.open import open_data
from spnas.data.records import NO_PARENT, Annotations, DataSet, Details
from spnas.errors import DataError, UsageError
from spnas.evaluate import metrics as shelf
from spnas.evaluate.results import write_results
from spnas.shelf import members, take
from spnas.tasks.evaluate import describe


@pytest.fixture
def street(tiny: DataSet) -> Annotations:
    """The tiny data as if its first two classes were pedestrians and riders, with what each metric asks for."""
    known = tiny.val
    names = ("pedestrian", "rider", *known.classes[2:])
    count = len(known.labels)
    return msgspec.structs.replace(
        known,
        classes=names,
        boxes=np.concatenate((known.boxes[:, :2], known.boxes[:, 2:] + 40), 1),
        sizes=known.sizes * 4,
        details=Details(
            identity=tuple(names[i] for i in known.labels),
            occlusion=np.zeros(count),
            truncation=np.zeros(count),
            tags=np.zeros(count, np.uint8),
            parent=np.full(count, NO_PARENT),
        ),
    )


@pytest.mark.parametrize("name", members(shelf))
def test_a_metric_tells_a_perfect_detector_from_a_silent_one(name: str, street: Annotations) -> None:
    metric = take(shelf, name)
    metric.check(street)
    best, worst = metric.score(street, perfect(street)), metric.score(street, found_of([]))
    good, bad = (0.0, 1.0) if best.lower_is_better else (1.0, 0.0)
    assert best.values[best.main] == pytest.approx(good, abs=1e-9)
    assert worst.values[worst.main] == pytest.approx(bad)
    assert best.protocol
    assert set(best.per_class) <= set(street.classes)
    assert msgspec.json.decode(msgspec.json.encode(best), type=dict)["main"] in best.values


def test_detections_made_elsewhere_are_judged_like_our_own(tiny_folder: Path, tmp_path: Path) -> None:
    judged = open_data(tiny_folder).val
    path = tmp_path / "results.json"
    path.write_bytes(write_results(judged, perfect(judged)))
    result = tasks.evaluate(path, data=tiny_folder, metric=("coco", "voc", "bdd", "bdd_old"))
    assert result.pictures == len(judged)
    assert {name: round(s.values[s.main], 3) for name, s in result.scores.items()} == dict.fromkeys(result.scores, 1.0)
    assert describe(result)[0].startswith("coco (COCO AP, IoU .50:.95) on 12 pictures: ap 1.000")
    with pytest.raises(UsageError, match="metric ecp needs"):
        tasks.evaluate(path, data=tiny_folder, metric=("ecp",))
    with pytest.raises(UsageError, match=r"there is no 'coc' in metrics; did you mean 'coco'\?"):
        tasks.evaluate(path, data=tiny_folder, metric=("coc",))


def test_the_pictures_may_be_missing_when_detections_are_judged(tiny_folder: Path, tmp_path: Path) -> None:
    judged = open_data(tiny_folder).val
    bare = tmp_path / "bare"
    shutil.copytree(tiny_folder, bare, ignore=shutil.ignore_patterns("*.png", "*.jpg"))
    path = tmp_path / "results.json"
    path.write_bytes(write_results(judged, perfect(judged)))
    assert tasks.evaluate(path, data=bare, pictures=False).scores["coco"].values["ap"] == pytest.approx(1.0)
    with pytest.raises(DataError, match="picture-missing"):
        tasks.evaluate(path, data=bare)
    with pytest.raises(UsageError, match="--no-pictures is for files of detections"):
        tasks.evaluate(tmp_path / "best", data=bare, pictures=False)


def test_a_copy_of_the_truth_is_perfect_where_boxes_belong_to_stored_pictures(
    stored_folder: Path, tmp_path: Path
) -> None:
    source = next(stored_folder.rglob("*_val.json"))
    rows = [row | {"score": 0.9} for row in json.loads(source.read_text())["annotations"]]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    for pictures in (True, False):
        result = tasks.evaluate(path, data=stored_folder, pictures=pictures, results=tmp_path / "again.json")
        assert result.scores["coco"].values["ap"] == pytest.approx(1.0)
        again = sorted((row["image_id"], *row["bbox"]) for row in json.loads((tmp_path / "again.json").read_text()))
        assert again == sorted((row["image_id"], *row["bbox"]) for row in rows)


def test_data_without_a_val_is_judged_whole_or_on_the_part_that_training_sets_aside(
    tiny_folder: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.json"
    source = next(p for p in sorted(tiny_folder.rglob("*.json")) if "train" in str(p))
    document = json.loads(source.read_text())
    for picture in document["images"]:
        found = next(iter(tiny_folder.rglob(f"train/{Path(picture['file_name']).name}")))
        shutil.copy(found, tmp_path / found.name)
        picture["file_name"] = found.name
    alone.write_text(json.dumps(document))
    opened = open_data(alone)
    path = tmp_path / "results.json"
    for part in (opened.val, opened.train):
        path.write_bytes(write_results(part, perfect(part)))
        result = tasks.evaluate(path, data=alone)
        whole = len(opened.val) + len(opened.train)
        assert result.pictures == (len(part) if part is opened.val else whole)
    assert 0 < result.scores["coco"].values["ap"] < 1


def test_a_folder_of_detections_is_judged_by_ecp(shared: Path) -> None:
    folder = shared / "fixtures" / "ecp_synth"
    result = tasks.evaluate(folder / "detections", data=folder, metric=("ecp", "coco"), pictures=False)
    assert result.scores["ecp"].values["pedestrian_reasonable"] == pytest.approx(0.4422824921543551, abs=1e-9)
    assert "lower is better" in describe(result)[0]
