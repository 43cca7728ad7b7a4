"""Formats and splits are told by their look; train and val agree, share nothing, and are known by one hash."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spnas.data import scan
from spnas.data.batches import Pictures, eval_batches
from spnas.data.formats import coco as coco_format
from spnas.data.open import open_data
from spnas.data.scan import choose_root
from spnas.data.transforms import Resize
from spnas.errors import DataError, UsageError

from .conftest import Document, coco_document, write_picture


def lay_out(folder: Path, files: dict[str, tuple[str, int, int]]) -> Path:
    """Write COCO files: name -> (folder of its pictures, how many, the first id)."""
    for name, (pictures, count, first) in files.items():
        document = coco_document(count, first)
        for image in document["images"]:
            write_picture(folder / pictures / image["file_name"], seed=image["id"])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(document))
    return folder


LAYOUTS = {
    "official": {
        "annotations/instances_train2017.json": ("train2017", 4, 1),
        "annotations/instances_val2017.json": ("val2017", 2, 11),
    },
    "images inside": {
        "annotations/instances_train.json": ("images/train", 4, 1),
        "annotations/instances_val.json": ("images/val", 2, 11),
    },
    "plain": {"train.json": ("images", 4, 1), "val.json": ("images", 2, 11)},
    "beside": {"train.json": (".", 4, 1), "val.json": (".", 2, 11)},
    "Roboflow": {
        "train/_annotations.coco.json": ("train", 4, 1),
        "valid/_annotations.coco.json": ("valid", 2, 11),
        "test/_annotations.coco.json": ("test", 1, 21),
    },
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_recognised(name: str, tmp_path: Path) -> None:
    data = open_data(lay_out(tmp_path, LAYOUTS[name]))
    assert (len(data.train), len(data.val), data.format) == (4, 2, "coco")
    assert all(data.val.path(i).is_file() for i in range(2))


def test_splits_can_be_named(tmp_path: Path) -> None:
    files = {"train2014.json": (".", 4, 1), "train2017.json": (".", 3, 1), "annotations/mine.json": (".", 2, 11)}
    lay_out(tmp_path, files)
    with pytest.raises(DataError, match=r"several files could be train: train2014\.json, train2017\.json; .*--train"):
        open_data(tmp_path)
    data = open_data(tmp_path, train="train2017", val="annotations/mine.json")
    assert (len(data.train), len(data.val)) == (3, 2)
    with pytest.raises(DataError, match=r"no split 'train2016'; did you mean 'train201\d'"):
        open_data(tmp_path, train="train2016", val="annotations/mine.json")
    with pytest.raises(DataError, match="path-outside"):
        open_data(tmp_path, train="../mine.json")


def test_a_single_file_is_divided_alike_every_time(tmp_path: Path) -> None:
    lay_out(tmp_path, {"all.json": ("images", 10, 1)})
    data = open_data(tmp_path / "all.json")
    assert (len(data.train), len(data.val)) == (8, 2)
    assert "2 of 10 pictures are kept from training" in data.reports[0].findings[0].reason
    document = json.loads((tmp_path / "all.json").read_text())
    document["images"].reverse()
    (tmp_path / "all.json").write_text(json.dumps(document))
    assert set(open_data(tmp_path / "all.json").val.files) == set(data.val.files)


def test_copies_of_a_picture_are_not_divided(tmp_path: Path) -> None:
    lay_out(tmp_path, {"all.json": ("images", 6, 1)})
    for name in "2345":
        shutil.copy(tmp_path / "images" / "1.png", tmp_path / "images" / f"{name}.png")
    data = open_data(tmp_path / "all.json")
    alike = {f"{n}.png" for n in range(1, 6)}
    assert alike <= set(data.train.files) or alike <= set(data.val.files)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda _: None, r"there is no such file or folder.*data-missing"),
        (lambda p: p.mkdir(), r"expected one of: BDD100K: .*COCO: .*PASCAL VOC: .*YOLO: .*layout-unknown"),
        (lambda p: p.write_text("x"), "layout-unknown"),
        (lambda p: lay_out(p, {"val.json": (".", 2, 1)}), r"nothing to train on; expected COCO"),
        (lambda p: p.symlink_to("nowhere"), "layout-unknown"),
    ],
)
def test_what_is_no_data_set_is_refused(make: Callable[[Path], Any], match: str, tmp_path: Path) -> None:
    make(tmp_path / "data")
    with pytest.raises(DataError, match=match):
        open_data(tmp_path / "data")


def test_two_formats_in_one_folder_have_to_be_told_apart(coco: Any, voc: Any) -> None:
    assert coco() == voc()
    folder = Path(coco())
    with pytest.raises(DataError, match="could be coco or voc; choose one with --format"):
        open_data(folder)
    assert open_data(folder, format="voc").train.image_ids == ("p0", "p1", "p2", "p3")
    with pytest.raises(UsageError, match=r"no 'cocoo' in formats; did you mean 'coco'"):
        open_data(folder, format="cocoo")


def test_classes_are_matched_by_name(coco: Any) -> None:
    folder = coco()
    file = folder / "annotations" / "instances_val.json"
    document = json.loads(file.read_text())
    document["categories"] = [{"id": 1, "name": "dog"}, {"id": 0, "name": "cat"}, {"id": 2, "name": "unused"}]
    for box in document["annotations"]:
        box["category_id"] = 0 if box["category_id"] == 1 else 1
    file.write_text(json.dumps(document))
    data = open_data(folder)
    assert data.val.classes == data.train.classes == ("cat", "dog")
    assert (data.train.category_ids, data.val.category_ids) == ((1, 7), (0, 1))
    assert data.val.labels.tolist() == [0, 1, 0, 1]
    assert data.reports[1].counts == {"classes-reordered": 1}


def test_a_class_that_val_lacks_gets_an_id_that_is_free(coco: Any) -> None:
    folder = coco()
    file = folder / "annotations" / "instances_val.json"
    document = json.loads(file.read_text())
    document["categories"] = [{"id": 1, "name": "dog"}]
    document["annotations"] = [b | {"category_id": 1} for b in document["annotations"] if b["category_id"] == 7]
    file.write_text(json.dumps(document))
    assert open_data(folder).val.category_ids == (2, 1)


def test_what_cannot_be_listed_is_named(coco: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = coco()

    def denied(_: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(folder / "annotations"))

    monkeypatch.setattr(coco_format, "recognise", denied)
    with pytest.raises(DataError, match=r"annotations: cannot be read: Permission denied.*file-unreadable"):
        open_data(folder)


def test_a_disk_that_hiccups_is_asked_again(coco: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real, failures = coco(), scan.os.fdopen, iter([116, 116])

    def flaky(descriptor: int, mode: str) -> Any:
        for number in failures:
            os.close(descriptor)
            raise OSError(number, "Stale file handle")
        return real(descriptor, mode)

    monkeypatch.setattr(scan, "os", SimpleNamespace(**vars(os) | {"fdopen": flaky}))
    assert open_data(folder).reports[0].counts == {}


def test_a_picture_may_not_be_learned_and_judged(coco: Any) -> None:
    folder = coco()
    shutil.copy(folder / "train" / "2.png", folder / "val" / "12.png")
    with pytest.raises(DataError, match=r"picture 12\.png: has the bytes of 2\.png in train \(1 such.*splits-overlap"):
        open_data(folder)
    assert len(open_data(folder, allow_overlap=True).val) == 2


def test_pictures_may_lie_in_one_other_folder(coco: Any, tmp_path: Path) -> None:
    def change(document: Document, folder: Path) -> None:
        (folder / "train" / "1.png").rename(tmp_path / "1.png")
        document["images"][0]["file_name"] = str(tmp_path / "1.png")

    folder = coco(change)
    with pytest.raises(DataError, match="path-absolute"):
        open_data(folder)
    data = open_data(folder, allow_outside=tmp_path)
    assert data.train.path(0) == tmp_path / "1.png"


def test_the_folder_with_the_pictures_is_chosen(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        write_picture(tmp_path / name)
    roots = [tmp_path / "a", tmp_path / "b", tmp_path / "none"]
    assert choose_root(roots, ["1.png", "2.png"]) == tmp_path / "b"
    assert choose_root(roots, ["1.png"]) == tmp_path / "a"
    assert choose_root(roots, ["9.png"]) == tmp_path / "a"


def test_the_fingerprint_knows_every_change_that_matters(coco: Any) -> None:
    folder = coco()
    prints = [open_data(folder).fingerprint]
    assert open_data(folder).fingerprint == prints[0]
    (folder / "train" / "unused.png").write_bytes(b"")
    assert open_data(folder).fingerprint == prints[0]
    write_picture(folder / "val" / "12.png", seed=99)
    prints.append(open_data(folder).fingerprint)
    file = folder / "annotations" / "instances_train.json"
    text = file.read_text()
    for old, new in (("[5, 4, 10, 8]", "[5, 4, 10, 9]"), ('"iscrowd": 0', '"iscrowd": 1')):
        file.write_text(text.replace(old, new, 1))
        prints.append(open_data(folder).fingerprint)
    for file in (folder / "annotations").iterdir():
        file.write_text(file.read_text().replace('"dog"', '"hound"'))
    prints.append(open_data(folder).fingerprint)
    assert len(set(prints)) == 5


def test_big_data_are_hashed_by_both_ends_of_every_picture(coco: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = coco()
    monkeypatch.setattr("spnas.data.scan.WHOLE_BYTES", 0)
    monkeypatch.setattr("spnas.data.scan.END_BYTES", 256)
    before = open_data(folder).fingerprint
    path = folder / "train" / "1.png"
    data = bytearray(path.read_bytes())
    assert len(data) > 2000
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert open_data(folder).fingerprint == before
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert open_data(folder).fingerprint != before


def test_what_is_written_is_read_back(coco: Any, tmp_path: Path) -> None:
    def change(document: Document, _: Path) -> None:
        document["annotations"][2]["iscrowd"] = 1
        document["annotations"][3].update(area=55.5, id=0)

    data = open_data(coco(change))
    (tmp_path / "again.json").write_bytes(coco_format.write_ground_truth(data.train))
    for name in data.train.files:
        shutil.copy(data.train.root / name, tmp_path)
    again = open_data(tmp_path / "again.json", val="data/annotations/instances_val.json").train
    for field in ("classes", "files", "image_ids", "category_ids"):
        assert getattr(again, field) == getattr(data.train, field)
    for field in ("sizes", "first", "boxes", "labels", "flags", "areas"):
        assert np.array_equal(getattr(again, field), getattr(data.train, field))
    assert again.box_ids == tuple(range(1, 9))


def test_the_official_example_reads_whole(shared: Path) -> None:
    source = shared / "fixtures" / "coco_fakebbox100" / "instances_val2014_100.json"
    raw = coco_format.read(source, split=source.name)
    assert (len(raw.files), len(raw.owner)) == (100, 839)
    assert int((raw.flags == 1).sum()) == 9


def test_a_data_set_of_one_picture_each_works(tmp_path: Path) -> None:
    lay_out(tmp_path, {"train.json": (".", 1, 1), "val.json": (".", 1, 11)})
    data = open_data(tmp_path)
    (batch,) = eval_batches(Pictures(data.val, Resize(None, 64)), batch_size=8)
    assert batch.images.shape[0] == 1
