"""VOC folders: the coordinate rule, what is refused, what is counted, and a real data set's numbers."""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from PIL import Image

from spnas.data.formats.coco import write_ground_truth
from spnas.data.open import open_data
from spnas.data.records import DIFFICULT, OCCLUDED, TRUNCATED, DataSet
from spnas.errors import DataError

from .conftest import voc_object, voc_text, write_picture


class Case(NamedTuple):
    row: int  # of the catalogue of bad inputs
    name: str
    given: dict[str, Any]
    code: str
    match: str = ""


def text(written: str | bytes) -> dict[str, Any]:
    return {"text": written}


def objects(*written: str) -> dict[str, Any]:
    return {"objects": "".join(written)}


def change(action: Callable[[Path], Any]) -> dict[str, Any]:
    return {"change": action}


def laughs() -> str:
    entities = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(10))
    return f"<?xml version='1.0'?><!DOCTYPE lolz [{entities}]><annotation>&l9;</annotation>"


GOOD = voc_text("p1", voc_object())
MALFORMED = [
    Case(1, "empty", text(""), "file-empty", "p1.xml"),
    Case(1, "missing", change(lambda f: (f / "Annotations" / "p1.xml").unlink()), "file-missing", "p1.xml"),
    Case(2, "not XML", text("hello"), "xml-syntax", "line 1:1"),
    Case(2, "truncated", text(GOOD[:150]), "xml-syntax", r"line \d+:\d+"),
    Case(2, "trailing", text(GOOD + "<more/>"), "xml-syntax", "junk after"),
    Case(3, "another root", text("<html></html>"), "voc-root", "<html>.*expected <annotation>"),
    Case(4, "UTF-16", text(GOOD.encode("utf-16")), "file-encoding"),
    Case(4, "Latin-1", text(GOOD.replace("cat", "kätz").encode("latin-1")), "file-encoding"),
    Case(4, "declared Latin-1", text("<?xml version='1.0' encoding='ISO-8859-1'?>" + GOOD), "file-encoding", "ISO"),
    Case(13, "list of unknown names", change(lambda f: (f / "ImageSets/Main/train.txt").write_text("nothing\n")),
         "file-missing", "nothing.xml"),
    Case(17, "val has another class", change(lambda f: (f / "Annotations/p4.xml").write_text(
        voc_text("p4", voc_object("bird")))), "classes-differ", "the file has bird, cat, dog, train has cat, dog"),
    Case(18, "no area", objects(voc_object(box=(6, 5, 6, 12))), "too-many-bad", r"line \d+.*box-zero-area"),
    Case(19, "xmin > xmax", objects(voc_object(box=(15, 5, 6, 12))), "too-many-bad", "box-negative"),
    Case(20, "NaN", objects(voc_object(box=("nan", 5, 15, 12))), "too-many-bad", "box-not-finite"),
    Case(20, "infinity", objects(voc_object(box=(6, 5, "inf", 12))), "too-many-bad", "box-not-finite"),
    Case(20, "infinities on one axis", objects(voc_object(box=(6, "inf", 15, "inf"))), "too-many-bad", "not-finite"),
    Case(20, "1e999", objects(voc_object(box=(6, 5, "1e999", 12))), "too-many-bad", "box-not-finite"),
    Case(21, "absurd", objects(voc_object(box=(6, 5, 1e9, 12))), "too-many-bad", "box-absurd"),
    Case(23, "outside", objects(voc_object(box=(70, 5, 90, 12))), "too-many-bad", "box-outside"),
    Case(25, "another size", text(voc_text("p1", voc_object(), size=(61, 40))), "picture-size-differs", "61 x 40"),
    Case(30, "a word", objects(voc_object(box=("six", 5, 15, 12))), "too-many-bad", "box-not-four-numbers"),
    Case(30, "a number missing", objects(voc_object(box=(6, 5, 15))), "too-many-bad", "box-not-four-numbers"),
    Case(30, "an underscore", objects(voc_object(box=("1_0", 5, 15, 12))), "too-many-bad", "box-not-four-numbers"),
    Case(32, "an empty list", change(lambda f: (f / "ImageSets/Main/train.txt").write_text("\n \n")), "file-empty"),
    Case(34, "picture missing", change(lambda f: (f / "JPEGImages/p1.png").unlink()), "picture-missing", "p1"),
    Case(35, "a web page", change(lambda f: (f / "JPEGImages/p1.png").write_bytes(b"<html>")), "too-many-bad"),
    Case(44, "a name that leads out", change(lambda f: (f / "ImageSets/Main/train.txt").write_text("../../p1\n")),
         "path-outside"),
    Case(44, "an absolute name", change(lambda f: (f / "ImageSets/Main/train.txt").write_text("/etc/p1\n")),
         "path-absolute"),
    Case(49, "two pictures of a stem", change(lambda f: Image.new("L", (60, 40)).save(f / "JPEGImages/p1.jpg")),
         "picture-stem-shared", "p1.jpg and p1.png"),
    Case(49, "listed twice", change(lambda f: (f / "ImageSets/Main/train.txt").write_text("p1\np1\n")),
         "picture-listed-twice"),
    Case(50, "no bndbox", objects("<object><name>cat</name></object>"), "too-many-bad", "an object has no bndbox"),
    Case(50, "no name", objects(voc_object(name="")), "too-many-bad", "an object has no name"),
    Case(51, "billion laughs", text(laughs()), "xml-declaration"),
    Case(51, "an outside entity", text('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + GOOD),
         "xml-declaration"),
    Case(51, "a DTD", text('<!DOCTYPE annotation SYSTEM "http://example.org/a.dtd">' + GOOD), "xml-declaration"),
    Case(51, "a parameter entity", text("<!DOCTYPE a [<!ENTITY % p '<x/>'> %p;]>" + GOOD), "xml-declaration"),
    Case(51, "an unknown entity", text(GOOD.replace("cat", "&cat;")), "xml-syntax", "undefined entity"),
    Case(51, "too deep", text("<annotation>" + "<a>" * 100_000), "xml-too-deep", "line 1"),
    Case(51, "too large", change(lambda f: os.truncate(f / "Annotations/p1.xml", 17 << 20)), "file-too-large"),
]  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED, ids=lambda c: f"{c.row}-{c.name}".replace(" ", "-"))
def test_a_malformed_folder_is_refused(case: Case, voc: Any, snapshot: Any) -> None:
    folder = voc(**case.given)
    before = snapshot(folder)
    begun = time.perf_counter()
    with pytest.raises(DataError, match=re.escape(f"[{case.code}]")) as caught:
        open_data(folder)
    assert time.perf_counter() - begun < 1
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(folder) in message
    assert re.search(case.match, message), message
    assert snapshot(folder) == before


def first_box(data: DataSet) -> list[float]:
    return list(data.train.boxes[data.train.first[1]].tolist())  # of p1


class Legal(NamedTuple):
    row: int
    name: str
    given: dict[str, Any]
    counts: dict[str, int]
    cats: tuple[int, int, int] = (4, 0, 0)  # used, ignored, quarantined
    holds: Callable[[DataSet], bool] = lambda _: True


CAT = voc_object()
LEGAL = [
    Legal(50, "pixels from 1, the last included", objects(CAT), {}, holds=lambda d: first_box(d) == [5, 4, 15, 12]),
    Legal(50, "a corner at 0", objects(voc_object(box=(0, 0, 15, 12))), {"voc-zero-based": 1},
          holds=lambda d: first_box(d) == [0, 0, 15, 12]),
    Legal(50, "the whole picture", objects(voc_object(box=(1, 1, 60, 40))), {},
          holds=lambda d: first_box(d) == [0, 0, 60, 40]),
    Legal(50, "fractions", objects(voc_object(box=(6.5, 5.25, 15, 12))), {},
          holds=lambda d: first_box(d) == [5.5, 4.25, 15, 12]),
    Legal(50, "blanks around numbers", objects(voc_object(box=(" 6 ", "5\n", 15, 12))), {}),
    Legal(50, "tags in another order", text(
        "<annotation><object><bndbox><ymax>12</ymax><xmax>15</xmax><ymin>5</ymin><xmin>6</xmin></bndbox>"
        "<name>cat</name></object></annotation>"), {"picture-size-unstated": 1},
        holds=lambda d: first_box(d) == [5, 4, 15, 12]),
    Legal(50, "size 0", text(voc_text("p1", CAT, size=(0, 0))), {"picture-size-unstated": 1}),
    Legal(50, "no size", text(voc_text("p1", CAT, size=None)), {"picture-size-unstated": 1}),
    Legal(50, "another file name", text(voc_text("other", CAT)), {"voc-filename": 1}),
    Legal(50, "parts of an object", objects(voc_object(extra="<part><name>head</name><bndbox><xmin>1</xmin>"
          "</bndbox></part>")), {}, holds=lambda d: d.train.classes == ("cat", "dog")),
    Legal(29, "difficult", objects(voc_object(extra="<difficult>1</difficult>")), {}, (3, 1, 0),
          holds=lambda d: d.train.flags[d.train.first[1]] == DIFFICULT),
    Legal(50, "difficult of another value", objects(voc_object(extra="<difficult>yes</difficult>")),
          {"voc-difficult-value": 1}),
    Legal(29, "truncated and occluded", objects(voc_object(
        extra="<truncated>1</truncated><occluded>1</occluded>")), {},
        holds=lambda d: d.train.flags[d.train.first[1]] == TRUNCATED | OCCLUDED),
    Legal(22, "partly outside", objects(voc_object(box=(50, 5, 65, 12))), {"box-clipped": 1},
          holds=lambda d: first_box(d) == [49, 4, 60, 12]),
    Legal(18, "no area", objects(voc_object(box=(6, 5, 6, 5))), {"box-zero-area": 1}, (3, 0, 1)),
    Legal(50, "no name", objects(CAT, voc_object(name="")), {"voc-no-name": 1},
          holds=lambda d: d.reports[0].per_class["(no name)"].quarantined == 1),
    Legal(50, "no bndbox", objects("<object><name>cat</name></object>"), {"voc-no-box": 1}, (3, 0, 1)),
    Legal(31, "no objects", objects(""), {}, (3, 0, 0), holds=lambda d: d.reports[0].empty_images == 1),
    Legal(16, "blanks around a name", objects(voc_object(name=" cat ")), {}),
    Legal(4, "a byte order mark", text(b"\xef\xbb\xbf" + voc_text("p1", CAT).encode()), {}),
    Legal(47, "letters beyond ASCII", objects(CAT, voc_object(name="größe & co".replace("&", "&amp;"))), {},
          holds=lambda d: d.train.classes == ("cat", "dog", "größe & co")),
    Legal(50, "comments and instructions", text("<?xml version='1.0'?><!-- x -->" + voc_text("p1", CAT)), {}),
    Legal(46, "Windows line ends", text(voc_text("p1", CAT).replace("\n", "\r\n")), {}),
    Legal(50, "lists with marks", change(lambda f: (f / "ImageSets/Main/train.txt").write_text(
        "p0  1\np1 -1\np2  0\np3  1\n")), {}),
]  # fmt: skip


@pytest.mark.parametrize("case", LEGAL, ids=lambda c: f"{c.row}-{c.name}".replace(" ", "-"))
def test_an_odd_file_is_used_and_counted(case: Legal, voc: Any, snapshot: Any) -> None:
    folder = voc(**case.given)
    before = snapshot(folder)
    data = open_data(folder, max_bad=0.5)
    report = data.reports[0]
    assert report.counts == case.counts
    cats = report.per_class["cat"]
    assert (cats.used, cats.ignored, cats.quarantined) == case.cats
    for count in report.per_class.values():
        assert count.read == count.used + count.ignored + count.quarantined
    assert case.holds(data)
    assert snapshot(folder) == before


def test_trainval_and_test_go_before_train_and_val(voc: Any) -> None:
    folder = voc()
    lists = folder / "ImageSets" / "Main"
    (lists / "trainval.txt").write_text("p0\np1\np2\np3\np4\n")
    (lists / "test.txt").write_text("p5\n")
    assert [len(part) for part in (open_data(folder).train, open_data(folder).val)] == [5, 1]
    named = open_data(folder, train="train", val="val")
    assert (named.train.image_ids, named.val.image_ids) == (("p0", "p1", "p2", "p3"), ("p4", "p5"))


def test_a_folder_without_lists_is_divided(voc: Any) -> None:
    folder = voc(change=lambda f: shutil.rmtree(f / "ImageSets"))
    write_picture(folder / "JPEGImages" / "alone.png", seed=77)
    data = open_data(folder)
    assert (len(data.train), len(data.val)) == (5, 1)
    assert data.reports[0].counts == {"val-carved": 1, "voc-no-annotation": 1}


def test_files_beside_their_pictures_are_read(tmp_path: Path) -> None:
    for index in range(3):
        write_picture(tmp_path / f"p{index}.png", seed=index)
        (tmp_path / f"p{index}.xml").write_text(voc_text(f"p{index}", voc_object()))
    data = open_data(tmp_path)
    assert data.format == "voc"
    assert data.train.path(0).is_file()


def test_names_that_are_not_utf8_work(tmp_path: Path) -> None:
    for index in range(3):
        stem = os.fsdecode(b"caf\xe9" + str(index).encode())
        write_picture(tmp_path / f"{stem}.png", seed=index)
        (tmp_path / f"{stem}.xml").write_text(voc_text("p", voc_object()))
    data = open_data(tmp_path)
    assert data.train.path(0).is_file()
    assert data.train.image_ids[0].startswith(r"caf\udce9")
    msgspec.json.decode(write_ground_truth(data.train))
    assert all(f.where.isprintable() for f in data.reports[0].findings)


def test_of_several_folders_none_is_guessed(voc: Any, tmp_path: Path) -> None:
    folder = voc()
    for year in ("VOC2007", "VOC2012"):
        shutil.copytree(folder, tmp_path / "kit" / year)
    with pytest.raises(DataError, match="layout-unknown"):
        open_data(tmp_path / "kit")
    shutil.rmtree(tmp_path / "kit" / "VOC2007")
    assert len(open_data(tmp_path / "kit").train) == 4


def test_an_unknown_split_is_refused_with_the_nearest(voc: Any) -> None:
    with pytest.raises(DataError, match=r"no split 'trian'; did you mean 'train'"):
        open_data(voc(), train="trian")


def test_bccd_has_its_known_numbers(shared: Path) -> None:
    data = open_data(shared / "data" / "bccd" / "BCCD")
    assert (len(data.train), len(data.val)) == (292, 72)
    assert [r.counts for r in data.reports] == [{"box-zero-area": 2}, {}]
    bad = {Path(f.file).stem for f in data.reports[0].findings}
    assert bad == {"BloodImage_00338", "BloodImage_00343"}
    total = {name: sum(r.per_class[name].read for r in data.reports) for name in data.train.classes}
    assert total == {"Platelets": 361, "RBC": 4155, "WBC": 372}
    assert len(data.train.boxes) + len(data.val.boxes) == 4888 - 2
    parts = [open_data(shared / "data" / "bccd", train=a, val="test").train for a in ("train", "val")]
    assert [len(p) for p in parts] == [205, 87]
