"""Odd but legal COCO files are used, everything odd is counted, and no box is lost from the count."""

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from spnas.data.open import open_data
from spnas.data.records import CROWD, IGNORED, DataSet
from spnas.errors import DataError

Document = dict[str, Any]
CAT, DOG = (5.0, 4.0, 15.0, 12.0), (30.0, 20.0, 50.0, 32.0)


class Case(NamedTuple):
    row: int  # of the catalogue of bad inputs
    name: str
    change: Callable[[Document, Path], bytes | None]
    counts: dict[str, int]
    cats: tuple[int, int, int] = (4, 0, 0)  # used, ignored, quarantined
    holds: Callable[[DataSet], bool] = lambda _: True


def first(key: str, **values: Any) -> Callable[[Document, Path], None]:
    return lambda document, _: document[key][0].update(values)


def every(key: str, write: Callable[[Document], Document]) -> Callable[[Document, Path], None]:
    def change(document: Document, _: Path) -> None:
        document[key] = [write(record) for record in document[key]]

    return change


def without(*keys: str) -> Callable[[Document], Document]:
    return lambda record: {k: v for k, v in record.items() if k not in keys}


def stringly(document: Document, _: Path) -> None:
    for image in document["images"]:
        image["id"] = f"img-{image['id']}"
    for box in document["annotations"]:
        box["image_id"] = f"img-{box['image_id']}"


def floaty(document: Document, _: Path) -> None:
    for image in document["images"]:
        image["id"] = float(image["id"])


def many(*keys: Callable[[Document, Path], Any]) -> Callable[[Document, Path], None]:
    def change(document: Document, folder: Path) -> None:
        for key in keys:
            key(document, folder)

    return change


def box(*numbers: float) -> Callable[[Document, Path], None]:
    return first("annotations", bbox=list(numbers))


def move(name: str, written: str | None = None) -> Callable[[Document, Path], None]:
    """Rename the first picture on disk, and in the document unless `written` says otherwise."""

    def change(document: Document, folder: Path) -> None:
        (folder / "train" / name).parent.mkdir(exist_ok=True)
        (folder / "train" / "1.png").rename(folder / "train" / name)
        document["images"][0]["file_name"] = name if written is None else written

    return change


def rotated(stated: tuple[int, int], orientation: int) -> Callable[[Document, Path], None]:
    """Store the first picture turned, with EXIF saying so; it is displayed as 60 x 40."""

    def change(document: Document, folder: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = np.random.default_rng(1).integers(0, 255, (60, 40, 3), np.uint8)
        (folder / "train" / "1.png").unlink()
        Image.fromarray(pixels).save(folder / "train" / "1.jpg", exif=exif)
        document["images"][0].update(file_name="1.jpg", width=stated[0], height=stated[1])
        if stated == (40, 60):  # the cat, on the stored picture that is turned clockwise when displayed
            document["annotations"][0]["bbox"] = [4, 45, 8, 10]
            document["annotations"][1]["bbox"] = [20, 10, 12, 20]

    return change


def swap(folder: Path, data: bytes) -> None:
    (folder / "train" / "1.png").write_bytes(data)


def as_mode(mode: str, **save: Any) -> Callable[[Document, Path], None]:
    return lambda _, folder: Image.new(mode, (60, 40)).save(folder / "train" / "1.png", **save)


def first_box(data: DataSet) -> tuple[float, ...]:
    return tuple(data.train.boxes[0].tolist())


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "größe.png") for form in ("NFC", "NFD"))
CASES = [
    Case(0, "nothing odd", lambda _d, _f: None, {}, holds=lambda d: first_box(d) == CAT),
    Case(4, "a byte order mark", lambda d, _: b"\xef\xbb\xbf" + json.dumps(d).encode(), {"byte-order-mark": 1}),
    Case(4, "letters beyond ASCII", lambda d, _: json.dumps(d | {"x": "é"}, ensure_ascii=False).encode(), {}),
    Case(4, "escaped letters", lambda d, _: json.dumps(d).replace('"cat"', r'"\u0063at"').encode(), {}),
    Case(4, "leading blanks", lambda d, _: b"\n  " + json.dumps(d).encode() + b"\n\n", {}),
    Case(5, "a key as a value", first("categories", supercategory="bbox"), {}),
    Case(5, "keys inside other objects", lambda d, _: d.update(info={"id": 1, "images": 2}), {}),
    Case(5, "licences with ids", lambda d, _: d.update(licenses=[{"id": 1, "name": "x"}, {"id": 2}]), {}),
    Case(5, "nested keys of a record", first("annotations", attributes={"id": 5, "bbox": [], "area": 0}), {}),
    Case(6, "minus zero", box(-0.0, -0.0, 10, 8), {"area-computed": 0}, holds=lambda d: first_box(d)[:2] == (0, 0)),
    Case(6, "exponents", box(5e0, 40e-1, 1e1, 0.8e1), {}, holds=lambda d: first_box(d) == CAT),
    Case(7, "a million keys", lambda d, _: d.update({f"k{i}": i for i in range(200_000)}), {}),
    Case(8, "info and licences missing", lambda _d, _f: None, {}),
    Case(9, "ids are strings", stringly, {"ids-not-integers": 1}, holds=lambda d: d.train.image_ids[0] == "img-1"),
    Case(9, "ids are whole floats", floaty, {"ids-not-integers": 1}, holds=lambda d: d.train.image_ids[0] == 1),
    Case(9, "ids are negative", many(first("annotations", id=-5)), {}, holds=lambda d: d.train.box_ids[0] == -5),
    Case(9, "ids are huge", first("annotations", id=10**30), {}, holds=lambda d: d.train.box_ids[0] == 10**30),
    Case(11, "a box id twice in a picture", lambda d, _: d["annotations"][1].update(id=1), {"box-id-shared": 1}),
    Case(11, "no box ids", every("annotations", without("id")), {"box-ids-missing": 8}),
    Case(12, "box id 0", first("annotations", id=0), {}, holds=lambda d: d.train.box_ids[0] == 0),
    Case(13, "a box of no picture", first("annotations", image_id=99), {"box-unknown-picture": 1}, (3, 0, 1)),
    Case(14, "a box of no class", first("annotations", category_id=99), {"box-unknown-class": 1}, (3, 0, 0),
         holds=lambda d: d.reports[0].per_class["category 99"].quarantined == 1),
    Case(15, "class ids with gaps", lambda _d, _f: None, {}, holds=lambda d: d.train.category_ids == (1, 7)),
    Case(16, "blanks around a class name", first("categories", name=" cat"), {"class-blanks": 1},
         holds=lambda d: d.train.classes == ("cat", "dog")),
    Case(18, "zero width", box(5, 4, 0, 8), {"box-zero-area": 1}, (3, 0, 1)),
    Case(18, "next to zero", box(5, 4, 1e-9, 8), {"box-zero-area": 1}, (3, 0, 1)),
    Case(19, "negative", box(5, 4, -10, 8), {"box-negative": 1}, (3, 0, 1)),
    Case(21, "1e9", box(1e9, 4, 10, 8), {"box-absurd": 1}, (3, 0, 1)),
    Case(21, "1e30", box(-1e30, 4, 1e30, 8), {"box-absurd": 1}, (3, 0, 1)),
    Case(22, "partly outside", box(55, 4, 10, 8), {"box-clipped": 1}, holds=lambda d: first_box(d) == (55, 4, 60, 12)),
    Case(22, "outside on the left", box(-5, -2, 10, 8), {"box-clipped": 1},
         holds=lambda d: first_box(d) == (0, 0, 5, 6) and d.train.areas[0] == 30),
    Case(22, "a rounding outside", box(50, 4, 10.005, 8), {"box-clipped": 0}),
    Case(22, "larger than the picture", box(-10, -10, 90, 90), {"box-clipped": 1, "area-computed": 0},
         holds=lambda d: first_box(d) == (0, 0, 60, 40)),
    Case(23, "wholly outside", box(60, 4, 10, 8), {"box-outside": 1}, (3, 0, 1)),
    Case(26, "no width and height", every("images", without("width", "height")), {"picture-size-unstated": 4},
         holds=lambda d: d.train.sizes.tolist() == [[60, 40]] * 4),
    Case(26, "width null", first("images", width=None), {"picture-size-unstated": 1}),
    Case(26, "whole floats", first("images", width=60.0, height=40.0), {}),
    Case(27, "no area", every("annotations", without("area")), {"area-computed": 8},
         holds=lambda d: d.train.areas.tolist()[:2] == [80, 240]),
    Case(27, "area 0", first("annotations", area=0), {"area-computed": 1}),
    Case(27, "area null", first("annotations", area=None), {"area-computed": 1}),
    Case(27, "area negative", first("annotations", area=-3), {"area-computed": 1}),
    Case(27, "area larger than the box", first("annotations", area=500), {"area-computed": 1},
         holds=lambda d: d.train.areas[0] == 80),
    Case(27, "area of a segmentation", first("annotations", area=41.5), {}, holds=lambda d: d.train.areas[0] == 41.5),
    Case(28, "no iscrowd", every("annotations", without("iscrowd")), {"iscrowd-default": 8}),
    Case(28, "iscrowd null", first("annotations", iscrowd=None), {"iscrowd-default": 1}),
    Case(28, "iscrowd 2", first("annotations", iscrowd=2), {"iscrowd-default": 1}),
    Case(28, "iscrowd a string", first("annotations", iscrowd="0"), {"iscrowd-default": 1}),
    Case(28, "iscrowd 0.0", first("annotations", iscrowd=0.0), {}),
    Case(29, "a crowd", first("annotations", iscrowd=1), {}, (3, 1, 0), holds=lambda d: d.train.flags[0] == CROWD),
    Case(29, "an ignored box", first("annotations", ignore=1), {}, (3, 1, 0),
         holds=lambda d: d.train.flags[0] == IGNORED),
    Case(29, "ignore 0", first("annotations", ignore=0), {}),
    Case(30, "three numbers", box(5, 4, 10), {"box-not-four-numbers": 1}, (3, 0, 1)),
    Case(30, "an empty box", box(), {"box-not-four-numbers": 1}, (3, 0, 1)),
    Case(31, "an empty picture", lambda d, _: d.update(annotations=d["annotations"][2:]), {}, (3, 0, 0),
         holds=lambda d: d.reports[0].empty_images == 1 and len(d.train) == 4),
    Case(35, "a web page", lambda _, f: swap(f, b"<html>"),
         {"picture-not-one": 1, "box-of-bad-picture": 2}, (3, 0, 1), holds=lambda d: len(d.train) == 3),
    Case(35, "no bytes", lambda _, f: swap(f, b""),
         {"picture-empty": 1, "box-of-bad-picture": 2}, (3, 0, 1)),
    Case(38, "a JPEG named .png", lambda _, f: Image.new("RGB", (60, 40)).save(f / "train" / "1.png", "JPEG"),
         {"picture-suffix": 1}),
    Case(38, "no suffix", move("picture"), {}),
    *(Case(39, mode, as_mode(mode), {"picture-converted": 1}) for mode in ("RGBA", "LA", "I;16")),
    *(Case(39, mode, as_mode(mode), {"picture-converted": 0}) for mode in ("L", "1", "P")),
    Case(39, "CMYK", as_mode("CMYK", format="JPEG"), {"picture-converted": 1, "picture-suffix": 1}),
    Case(40, "turned, size as displayed", rotated((60, 40), 6), {}, holds=lambda d: first_box(d) == CAT),
    Case(40, "turned, size as stored", rotated((40, 60), 6), {}, holds=lambda d: first_box(d) == (5, 4, 15, 12)),
    Case(43, "a broken segmentation", first("annotations", segmentation={"counts": "\\", "size": [-1, 1e9]}), {}),
    Case(43, "a segmentation of another type", first("annotations", segmentation="none"), {}),
    Case(45, "a hard link", lambda _, f: os.link(f / "train" / "1.png", f / "again.png"), {}),
    Case(45, "a link inside", many(move("real.png", "1.png"),
         lambda _, f: (f / "train" / "1.png").symlink_to("real.png")), {}),
    Case(46, "Windows separators", move("a/1.png", "a\\1.png"), {"path-form": 1},
         holds=lambda d: d.train.files[0] == "a/1.png"),
    Case(46, "dots that stay inside", move("b.png", "../train/b.png"), {}),
    Case(47, "percent-encoded", move("a b.png", "a%20b.png"), {"path-form": 1}),
    Case(47, "a percent sign", move("a%20b.png"), {"path-form": 0}),
    Case(47, "composed on disk", move(COMPOSED, DECOMPOSED), {"path-form": 1}),
    Case(47, "decomposed on disk", move(DECOMPOSED, COMPOSED), {"path-form": 1}),
    *(Case(47, name.encode("unicode_escape").decode(), move(name), {})
      for name in ("a b.png", "🐈.png", "שלום.png", "line\nbreak.png", "\x1b[31m.png", "-rf.png", "x" * 251 + ".png",
                   "'; drop--.png", "{0}%s.png", "a\\b.png")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.row}-{c.name}".replace(" ", "-")[:60])
def test_an_odd_file_is_used_and_counted(case: Case, coco: Any, snapshot: Any) -> None:
    folder = coco(case.change)
    before = snapshot(folder)
    data = open_data(folder, max_bad=0.5)
    report = data.reports[0]
    assert report.counts == {code: n for code, n in case.counts.items() if n}
    cats = report.per_class[data.train.classes[0]]
    assert (cats.used, cats.ignored, cats.quarantined) == case.cats
    for count in report.per_class.values():
        assert count.read == count.used + count.ignored + count.quarantined
    assert sum(c.used + c.ignored for c in report.per_class.values()) == len(data.train.boxes)
    assert case.holds(data)
    assert snapshot(folder) == before


def test_class_names_that_differ_by_case_are_noted(coco: Any) -> None:
    def change(document: Document, _: Path) -> None:
        document["categories"].append({"id": 9, "name": "Dog"})

    data = open_data(coco(change))
    assert data.reports[0].counts == {"class-case": 1}
    assert data.train.classes == ("cat", "dog", "Dog")


@pytest.mark.parametrize(("bad", "allowed"), [(1, True), (2, False)])
def test_one_record_in_a_hundred_may_be_left_out(bad: int, allowed: bool, coco: Any) -> None:
    def change(document: Document, _: Path) -> None:
        good = {"image_id": 1, "category_id": 1, "bbox": [5, 4, 10, 8], "area": 80, "iscrowd": 0}
        boxes = [{**good, "bbox": [5, 4, 0 if n < bad else 10, 8]} for n in range(96)]
        document["annotations"] = [{"id": n, **b} for n, b in enumerate(boxes)]  # and 4 pictures

    folder = coco(change)
    if allowed:
        assert open_data(folder).reports[0].counts == {"box-zero-area": 1}
    else:
        with pytest.raises(DataError, match=r"2 of 100 records \(2\.0%\) cannot be used, at most 1\.0% may"):
            open_data(folder)
