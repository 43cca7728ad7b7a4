import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.evaluate.conftest import annotations_of, found_of

from spnas.data.records import Annotations
from spnas.errors import DataError
from spnas.evaluate.frames import read_folder
from spnas.evaluate.results import read_results, write_results


@pytest.fixture
def annotations() -> Annotations:
    boxes = [[(10.0, 10.0, 40.0, 40.0)], [(20.0, 20.0, 30.0, 60.0)]]
    made = annotations_of(boxes, [[0], [1]], crowd=[[False], [False]], classes=2)
    return msgspec.structs.replace(
        made,
        name="val",
        classes=("pedestrian", "rider"),
        image_ids=(7, 1000),
        category_ids=(3, 90),
        files=("a/7.png", "b/1000.png"),
    )


def written(path: Path, rows: Any) -> Path:
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return path


def row(**changes: Any) -> dict[str, Any]:
    return {"image_id": 7, "category_id": 3, "bbox": [1.0, 2.0, 30.0, 40.0], "score": 0.5} | changes


def test_what_is_written_is_read_again(tmp_path: Path, annotations: Annotations) -> None:
    rows = [
        (0, (1.5, 2.0, 31.5, 42.25), 0.5, 0),
        (1, (0.0, 0.0, 9.0, 9.0), 0.9, 1),
        (1, (1.0, 0.0, 9.0, 9.0), 0.25, 0),
    ]
    found = found_of(rows)
    path = tmp_path / "results.json"
    path.write_bytes(write_results(annotations, found))
    again = read_results(path, annotations)
    for name in ("image_index", "boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))


def test_rows_may_come_in_any_order_with_whole_numbers_as_floats_and_more_keys(
    tmp_path: Path, annotations: Annotations
) -> None:
    rows = [row(image_id=1000.0, score=0.1), row(score=1, bbox=[1, 2, 3, 4], segmentation=[]), row(score=0.7)]
    found = read_results(written(tmp_path / "r.json", rows), annotations)
    assert found.image_index.tolist() == [0, 0, 1]
    assert found.scores.tolist() == [1.0, 0.7, 0.1]
    assert found.boxes[0].tolist() == [1.0, 2.0, 4.0, 6.0]
    assert len(read_results(written(tmp_path / "none.json", []), annotations).scores) == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [row(), row(image_id=8)],
            r"r\.json: \[1\]: image_id 8 is none of the 2 pictures.*result-unknown-pic",
        ),
        ([row(image_id="7")], r"\[0\]: image_id '7' is none .*ids of the data look like 7; .*result-unknown-picture"),
        ([row(category_id=4)], r"\[0\] \(image 7\): category_id 4 is no category .*known: 3 pedestrian, 90 rider"),
        ([row(), row(bbox=[0, 0, -1, 4])], r"\[1\] \(image 7\): box .* has a negative side.*result-negative-side"),
        ([row(bbox=[0, 0, 1e308, 4])], r"\[0\] \(image 7\): box .* far outside.*result-absurd"),
        ([row(bbox=[0, 0, float("nan"), 4])], r"\[0\] \(image 7\): box \[0.0, 0.0, nan, 4.0\].*not finite"),
        ([row(), row(score=float("inf"))], r"\[1\] \(image 7\): .* score inf is not finite.*result-not-finite"),
        ('[{"image_id": 7, "category_id": 3, "bbox": [0, 0, 1e999, 4], "score": 1}]', r"\[0\]\.bbox.*json-value"),
        ([row(bbox=[0, 0, 4])], r"\[0\]\.bbox: Expected `array` of length 4"),
        ([row(), {"image_id": 7}], r"\[1\]: Object missing required field `category_id`.*expected a list of objects"),
        ([row(score="high")], r"\[0\]\.score: Expected `float`, got `str`"),
        ('[{"image_id": 7, ', r"line 1:\d+ \(byte \d+\).*json-syntax"),
        ('[{"image_id": NaN, "bbox": 3}]', r"line 1:15 .*json-syntax"),
        ("", r"the file is empty"),
    ],
)
def test_what_is_wrong_with_a_results_file_is_said_with_its_place(
    tmp_path: Path, annotations: Annotations, rows: Any, message: str
) -> None:
    path = written(tmp_path / "r.json", rows)
    with pytest.raises(DataError, match=message) as caught:
        read_results(path, annotations)
    assert "\n" not in str(caught.value)


def test_a_stem_that_nearly_fits_is_proposed(tmp_path: Path, annotations: Annotations) -> None:
    named = msgspec.structs.replace(annotations, image_ids=("000007", "001000"))
    with pytest.raises(DataError, match="did you mean '001000'"):
        read_results(written(tmp_path / "r.json", [row(image_id="01000")]), named)
    with pytest.raises(DataError, match="ids of the data look like '000007'"):
        read_results(written(tmp_path / "r.json", [row(image_id=7)]), named)


def frame(**changes: Any) -> dict[str, Any]:
    box = {"x1": 1.0, "y1": 2.0, "x2": 31.0, "y2": 42.0}
    return {"name": "7.png", "labels": [{"category": "person", "score": 0.5, "box2d": box}]} | changes


def test_frames_are_matched_by_the_names_of_pictures(tmp_path: Path, annotations: Annotations) -> None:
    frames = [frame(name="1000.png", labels=None), frame()]
    for document in (frames, {"frames": frames}):
        found = read_results(written(tmp_path / "frames.json", document), annotations)
        assert (found.image_index.tolist(), found.labels.tolist()) == ([0], [0])
        assert found.boxes.tolist() == [[1.0, 2.0, 31.0, 42.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "8.png"}, r"\[0\]: '8\.png' is none of the 2 pictures of val.*result-unknown-picture"),
        (
            {"labels": [{"category": "cat", "score": 0.5, "box2d": {"x1": 0, "y1": 0, "x2": 1, "y2": 1}}]},
            r"\[0\]\.labels\[0\] \(image 7\.png\): category 'cat' is no class.*known: pedestrian, rider",
        ),
        (
            {"labels": [{"category": "rider", "score": 0.5, "box2d": {"x1": 9, "y1": 0, "x2": 1, "y2": 1}}]},
            r"labels\[0\].*negative side",
        ),
        ({"labels": [{"category": "rider", "score": 0.5}]}, r"\[0\]\.labels\[0\]: .*missing required field `box2d`"),
    ],
)
def test_what_is_wrong_with_frames_is_said_with_its_place(
    tmp_path: Path, annotations: Annotations, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_results(written(tmp_path / "frames.json", [frame(**change)]), annotations)


def stored(annotations: Annotations) -> Annotations:
    """The same where the first picture, displayed as 600 x 400, is stored turned: 400 x 600, EXIF orientation 6."""
    sizes = np.array([[600, 400]] * len(annotations), np.int32)
    return msgspec.structs.replace(annotations, sizes=sizes, turns=np.array([6, 1], np.uint8))


def test_boxes_of_the_stored_picture_are_turned_when_read_and_back_when_written(
    tmp_path: Path, annotations: Annotations
) -> None:
    known, turned, kept = stored(annotations), [558.0, 1.0, 598.0, 31.0], [1.0, 2.0, 31.0, 42.0]
    rows = [row(), row(image_id=1000, score=0.25)]
    found = read_results(written(tmp_path / "r.json", rows), known)
    assert found.boxes.tolist() == [turned, kept]
    assert msgspec.json.decode(write_results(known, found)) == rows
    only = known.select(np.array([1]), name="one")
    assert read_results(written(tmp_path / "r.json", rows[1:]), only).boxes.tolist() == [kept]
    found = read_results(written(tmp_path / "frames.json", [frame(), frame(name="1000.png")]), known)
    assert found.boxes.tolist() == [turned, kept]
    folder = tmp_path / "ecp"
    folder.mkdir()
    for stem in ("7", "1000"):
        written(folder / f"{stem}.json", {"identity": "frame", "children": [child()]})
    assert read_folder(folder, known).boxes.tolist() == [turned, kept]


def child(**changes: Any) -> dict[str, Any]:
    return {"identity": "pedestrian", "score": 0.5, "x0": 1.0, "y0": 2.0, "x1": 31.0, "y1": 42.0} | changes


def test_a_folder_holds_a_file_for_each_picture_that_has_detections(tmp_path: Path, annotations: Annotations) -> None:
    pixels = {"identity": "cyclist", "score": 0.4, "mincol": 1, "minrow": 2, "maxcol": 30, "maxrow": 41}
    written(tmp_path / "1000.json", {"identity": "frame", "children": [child(), pixels, child(identity="car")]})
    found = read_folder(tmp_path, annotations)
    assert found.image_index.tolist() == [1, 1]
    assert found.labels.tolist() == [0, 1]
    assert found.boxes.tolist() == [[1.0, 2.0, 31.0, 42.0]] * 2  # the last column and row belong to the box


def test_what_is_wrong_in_a_folder_is_said_with_its_place(tmp_path: Path, annotations: Annotations) -> None:
    half = {"identity": "rider", "score": 0.5, "x0": 1.0, "minrow": 2.0}
    path = written(tmp_path / "7.json", {"identity": "frame", "children": [child(), half]})
    with pytest.raises(DataError, match=r"7\.json: children\[1\]: has neither x0.*result-no-box"):
        read_folder(tmp_path, annotations)
    path.rename(tmp_path / "8.json")
    with pytest.raises(DataError, match=r"8\.json: '8' is none of the 2 pictures of val"):
        read_folder(tmp_path, annotations)
