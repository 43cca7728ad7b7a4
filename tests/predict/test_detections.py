"""What was found in a picture, and the forms it leaves in."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest

from spnas.data.records import DataSet
from spnas.errors import UsageError
from spnas.evaluate.detect import Found
from spnas.evaluate.results import write_results
from spnas.predict import Detection, Detections


def detections(count: int = 3, **given: Any) -> Detections:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 40, (count, 2))
    known: dict[str, Any] = {
        "boxes": np.concatenate((corner, corner + rng.uniform(5, 20, (count, 2))), axis=1),
        "scores": np.linspace(0.9, 0.3, count),
        "labels": np.arange(count) % 3,
        "classes": ("car", "van", "person"),
        "category_ids": (3, 4, 11),
        "size": (64, 60),
        "pixels": np.full((60, 64, 3), 200, np.uint8),
    }
    return Detections(**(known | given))


def test_they_are_counted_chosen_and_gone_through() -> None:
    found = detections()
    assert len(found) == 3
    assert found.names == ("car", "van", "person")
    assert found[0] == Detection(tuple(found.boxes[0].tolist()), 0.9, 0, "car")
    assert [one.name for one in found] == list(found.names)
    assert found[1:].names == found[[1, 2]].names == found[found.labels > 0].names == ("van", "person")
    assert found[[True, False, True]].names == ("car", "person")
    assert found[-1].name == "person"
    assert found.above(0.6).names == ("car", "van")
    assert found.above(0.95).boxes.shape == (0, 4)
    with pytest.raises(IndexError):
        found[3]


def test_they_say_what_they_are() -> None:
    assert repr(detections(path="street.jpg")) == (
        "<3 detections in street.jpg (64 x 60): car 0.90, van 0.60, person 0.30>"
    )
    assert repr(detections(1)) == "<1 detection in a picture (64 x 60): car 0.90>"
    assert repr(detections(0)) == "<0 detections in a picture (64 x 60)>"
    assert repr(detections(9)).endswith(", and 3 more>")
    assert "\x1b" not in repr(detections(classes=("\x1b[31m", "b", "c"), path="\x1b[0m.jpg"))


def test_coco_rows_are_those_of_the_results_file(tiny: DataSet) -> None:
    val = tiny.val
    found = detections(classes=val.classes, category_ids=val.category_ids, labels=np.arange(3) % len(val.classes))
    rows = Found(image_index=np.full(3, 2), boxes=found.boxes, scores=found.scores, labels=found.labels)
    assert msgspec.json.encode(found.to_coco(val.image_ids[2])) == write_results(val, rows)


def test_what_is_plotted_is_the_picture_with_boxes_on_it() -> None:
    found = detections()
    assert found.plot().size == (64, 60)
    assert found.plot(scale=3).size == (192, 180)
    np.testing.assert_array_equal(np.asarray(found[:0].plot()), found.pixels)
    x1, y1, _, _ = found.boxes[2].round().astype(int).tolist()
    assert np.asarray(found.plot())[y1, x1].tolist() != [200, 200, 200]
    assert (found.pixels == 200).all()


def test_supervision_gets_what_its_constructor_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """xyxy (n, 4), confidence (n,), class_id (n,) of integers, and names in the data, n of them."""

    class Theirs:
        def __init__(self, xyxy: Any, mask: Any = None, confidence: Any = None, class_id: Any = None,
                     tracker_id: Any = None, data: Any = None) -> None:  # fmt: skip
            assert mask is None
            assert tracker_id is None
            assert isinstance(xyxy, np.ndarray)
            assert xyxy.ndim == 2
            n = len(xyxy)
            assert xyxy.shape == (n, 4)
            assert confidence.shape == (n,)
            assert class_id.shape == (n,)
            assert np.issubdtype(class_id.dtype, np.integer)
            assert all(len(column) == n for column in data.values())
            self.xyxy, self.data = xyxy, data

    stand_in = ModuleType("supervision")
    stand_in.Detections = Theirs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", stand_in)
    theirs = detections().to_supervision()
    np.testing.assert_allclose(theirs.xyxy, detections().boxes, rtol=1e-6)
    assert theirs.data["class_name"].tolist() == ["car", "van", "person"]
    assert len(detections(0).to_supervision().xyxy) == 0


def test_without_supervision_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UsageError, match="pip install supervision"):
        detections().to_supervision()


def test_a_file_that_is_gone_cannot_be_drawn_on(tmp_path: Path) -> None:
    from spnas.errors import DataError

    with pytest.raises(DataError, match=r"gone\.png: there is no such file"):
        detections(path=str(tmp_path / "gone.png"), pixels=None).plot()
