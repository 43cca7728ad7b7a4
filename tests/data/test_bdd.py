"""BDD100K in its layouts of 2018 and 2020: odd files are used and counted, malformed ones refused in one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from spnas.data.bdd_labels import CLASSES
from spnas.data.formats import bdd as bdd_format
from spnas.data.open import open_data, open_split
from spnas.data.records import CROWD, IGNORED, OCCLUDED, TRUNCATED, DataSet
from spnas.errors import DataError

from .conftest import Document, bdd_document, check_conserved, check_refused, write_picture

Change = Callable[[Any, Path], bytes | None]


def label(**values: Any) -> Change:
    return lambda frames, _: frames[0]["labels"][0].update(values)


def frame(**values: Any) -> Change:
    return lambda frames, _: frames[0].update(values)


def box(*numbers: float | None) -> Change:
    return label(box2d=dict(zip(("x1", "y1", "x2", "y2"), numbers, strict=False)))


def raw(text: bytes) -> Change:
    return lambda _d, _f: text


def after(change: Callable[[str], str]) -> Change:
    return lambda frames, _: change(json.dumps(frames)).encode("utf-8", "surrogatepass")


def folder(action: Callable[[Path], Any]) -> Change:
    def change(_: Any, path: Path) -> None:
        action(path)

    return change


def renamed(name: str, written: str) -> Change:
    """Rename the first picture on disk to `name`, and in the labels to `written`."""

    def change(frames: Any, path: Path) -> None:
        (picture(path).parent / name).parent.mkdir(exist_ok=True)
        picture(path).rename(picture(path).parent / name)
        frames[0]["name"] = written

    return change


def target(path: Path) -> Path:
    (path / "labels" / "det_20").mkdir(parents=True, exist_ok=True)
    return path / "labels" / "det_20" / "det_train.json"


def picture(path: Path) -> Path:
    return path / "images" / "100k" / "train" / "1.png"


def every(**values: Any) -> Change:
    return lambda frames, _: [one.update(values) for f in frames for one in f["labels"]] and None


class Bad(NamedTuple):
    row: int  # of the catalogue of bad inputs
    name: str
    change: Change
    code: str
    match: str = ""


MALFORMED = [
    Bad(1, "a directory", folder(lambda f: target(f).mkdir()), "file-not-regular"),
    Bad(1, "empty", raw(b""), "file-empty"),
    Bad(1, "a dangling link", folder(lambda f: target(f).symlink_to("gone")), "file-missing"),
    Bad(1, "a fifo", folder(lambda f: os.mkfifo(target(f))), "file-not-regular"),
    Bad(2, "not JSON", raw(b"hello"), "json-syntax", "line 1:1"),
    Bad(2, "truncated", after(lambda t: t[:100]), "json-syntax", r"line 1:101 \(byte 100\)"),
    Bad(2, "trailing bytes", after(lambda t: t + "\n]"), "json-syntax", "line 2:1"),
    Bad(2, "a lone surrogate", after(lambda t: t.replace('"car"', r'"\ud800"', 1)), "json-syntax"),
    Bad(3, "a string", raw(b'"bdd"'), "json-value", "expected a list of frames"),
    Bad(3, "a list of numbers", raw(b"[1, 2]"), "json-value", r"\[0\]"),
    Bad(3, "an object without frames", raw(b"{}"), "json-value", "`frames`"),
    Bad(3, "labels of the wrong type", frame(labels={}), "json-value", r"\[0\]\.labels"),
    Bad(4, "UTF-16", lambda d, _: json.dumps(d).encode("utf-16"), "file-encoding"),
    Bad(4, "Latin-1", after(lambda t: t.replace('"car"', '"k\udce4r"')), "file-encoding"),
    Bad(5, "name twice", after(lambda t: t.replace('"name"', '"name": "x", "name"', 1)), "json-repeated-key", r"\[0\]"),
    Bad(5, "box twice", after(lambda t: t.replace('"box2d"', '"box2d": {}, "box2d"', 1)), "json-repeated-key", "box2d"),
    Bad(5, "corner twice", after(lambda t: t.replace('"x1"', '"x1": 1, "x1"', 1)), "json-repeated-key", "'x1'"),
    Bad(5, "escaped", after(lambda t: t.replace('"x1"', r'"x1": 1, "\u00781"', 1)), "json-repeated-key", "'x1'"),
    Bad(6, "NaN", box(float("nan"), 4, 15, 12), "json-syntax"),
    Bad(6, "1e999", after(lambda t: t.replace('"x1": 5', '"x1": 1e999', 1)), "json-value", r"labels\[0\]\.box2d\.x1"),
    Bad(7, "deep nesting", raw(b'[{"name": "1.png", "x": ' + b"[" * 100_000), "json-too-deep", "line 1"),
    Bad(7, "5000 digits", after(lambda t: t.replace('"x1": 5', '"x1": ' + "9" * 5000, 1)), "json-value"),
    Bad(8, "no name", lambda d, _: d[1].pop("name") and None, "json-value", r"\[1\]"),
    Bad(8, "no category", lambda d, _: d[0]["labels"][0].pop("category") and None, "json-value", r"labels\[0\]"),
    Bad(10, "a frame twice", lambda d, _: d.append(d[0]), "picture-listed-twice", r"\[4\].*\[0\]"),
    Bad(14, "an unknown class", label(category="cow"), "too-many-bad", "box-unknown-class"),
    Bad(17, "no class is known", every(category="cow"), "classes-unknown",
        "0 of 8 boxes match the class list; the boxes are of cow, known are pedestrian, rider"),
    Bad(18, "no area", box(5, 4, 5, 12), "too-many-bad", "box-zero-area"),
    Bad(19, "x1 > x2", box(15, 4, 5, 12), "too-many-bad", "box-negative"),
    Bad(21, "absurd", box(5, 4, 1e30, 12), "too-many-bad", "box-absurd"),
    Bad(23, "outside", box(70, 4, 80, 12), "too-many-bad", "box-outside"),
    Bad(25, "another size", frame(size={"width": 61, "height": 40}), "picture-size-differs", "61 x 40"),
    Bad(30, "a corner missing", box(5, 4, 15), "too-many-bad", "box-not-four-numbers"),
    Bad(30, "a null", box(5, None, 15, 12), "too-many-bad", "box-not-four-numbers"),
    Bad(30, "a string", label(box2d={"x1": "5"}), "json-value", r"box2d\.x1"),
    Bad(30, "a list", label(box2d=[5, 4, 15, 12]), "json-value", r"labels\[0\]\.box2d"),
    Bad(32, "no frames", raw(b"[]"), "no-pictures"),
    Bad(32, "no labels", lambda d, _: [f.update(labels=[]) for f in d] and None, "no-boxes"),
    Bad(34, "a picture missing", folder(lambda f: picture(f).unlink()), "picture-missing", "1 of 4 .*1.png"),
    Bad(35, "a web page", folder(lambda f: picture(f).write_bytes(b"<html>")), "too-many-bad", "picture-not-one"),
    Bad(44, "out by dots", frame(name="../../../out.png"), "path-outside", r"\[0\]"),
    Bad(44, "absolute", frame(name="/etc/passwd"), "path-absolute"),
    Bad(44, "a URL", frame(name="https://example.org/1.png"), "path-url"),
    Bad(48, "other case", frame(name="1.PNG"), "path-case"),
]  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED, ids=lambda c: f"{c.row}-{c.name}".replace(" ", "-"))
def test_a_malformed_folder_is_refused(case: Bad, bdd: Any) -> None:
    check_refused(bdd(case.change), case.code, case.match)


class Odd(NamedTuple):
    row: int
    name: str
    change: Change
    counts: dict[str, int]
    cars: tuple[int, int, int] = (4, 0, 0)  # used, ignored, quarantined
    holds: Callable[[DataSet], bool] = lambda _: True


def first_flag(flag: int) -> Callable[[DataSet], bool]:
    return lambda data: bool(data.train.flags[0] == flag)


ODD = [
    Odd(0, "nothing odd", lambda _d, _f: None, {}, holds=lambda d: d.train.classes == CLASSES),
    Odd(4, "a byte order mark", lambda d, _: b"\xef\xbb\xbf" + json.dumps(d).encode(), {"byte-order-mark": 1}),
    Odd(5, "a key as a value", frame(videoName="name"), {}),
    Odd(5, "keys inside other objects", frame(attributes={"name": 1, "labels": [], "x1": 5}), {}),
    Odd(9, "ids are numbers", label(id=5), {}),
    Odd(9, "no ids", lambda d, _: d[0]["labels"][0].pop("id") and None, {}),
    Odd(22, "partly outside", box(-3, 4, 15, 12), {"box-clipped": 1}),
    Odd(18, "no area", box(5, 4, 5, 12), {"box-zero-area": 1}, (3, 0, 1)),
    Odd(14, "an unknown class", label(category="cow"), {"box-unknown-class": 1}, (3, 0, 0),
        lambda d: d.reports[0].per_class["cow"].quarantined == 1),
    Odd(29, "a crowd", label(attributes={"crowd": True}), {}, (3, 1, 0), first_flag(CROWD)),
    Odd(29, "a crowd, capital", label(attributes={"Crowd": True}), {}, (3, 1, 0), first_flag(CROWD)),
    Odd(29, "ignored", label(attributes={"ignored": True}), {}, (3, 1, 0), first_flag(IGNORED)),
    Odd(29, "occluded", label(attributes={"occluded": True}), {}, holds=first_flag(OCCLUDED)),
    Odd(29, "occluded, as text", label(attributes={"occluded": "true"}), {}, holds=first_flag(OCCLUDED)),
    Odd(29, "truncated", label(attributes={"Truncated": 1}), {}, holds=first_flag(TRUNCATED)),
    Odd(29, "no attributes", label(attributes=None), {}, holds=first_flag(0)),
    Odd(29, "other attributes", label(attributes={"trafficLightColor": [1, "x"], "occluded": None}), {}),
    Odd(29, "another vehicle", label(category="other vehicle"), {"bdd-not-judged": 1}, (3, 1, 0), first_flag(IGNORED)),
    Odd(29, "another person", label(category="other person"), {"bdd-not-judged": 1}, (3, 0, 0),
        lambda d: d.reports[0].per_class["pedestrian"].ignored == 1),
    Odd(29, "a trailer", label(category="trailer"), {"bdd-not-judged": 1}, (3, 0, 0),
        lambda d: d.reports[0].per_class["truck"].ignored == 1),
    *(Odd(54, f"the old name {old}", label(category=old), {"bdd-old-names": 1}, (3, 0, 0),
          lambda d, new=new: d.reports[0].per_class[new].used == 1)  # type: ignore[misc]
      for old, new in (("bike", "bicycle"), ("motor", "motorcycle"), ("person", "pedestrian"))),
    Odd(54, "labels null", frame(labels=None), {}, (3, 0, 0), lambda d: d.reports[0].empty_images == 1),
    Odd(54, "no labels", lambda d, _: d[0].pop("labels") and None, {}, (3, 0, 0)),
    Odd(54, "labels empty", frame(labels=[]), {}, (3, 0, 0)),
    Odd(54, "a lane", lambda d, _: d[0]["labels"].append({"category": "lane", "poly2d": [{"vertices": [[1, 2]]}]}),
        {"bdd-no-box": 1}),
    Odd(54, "a car without a box", lambda d, _: d[0]["labels"][0].pop("box2d") and None, {"bdd-no-box": 1}, (3, 0, 0)),
    Odd(54, "box null", label(box2d=None), {"bdd-no-box": 1}, (3, 0, 0)),
    Odd(54, "an object of frames", lambda d, _: json.dumps({"frames": d, "config": {"imageSize": None}}).encode(), {}),
    Odd(26, "sizes stated", lambda d, _: [f.update(size={"width": 60, "height": 40}) for f in d] and None, {}),
    Odd(47, "a name with blanks", renamed("a b.png", "a b.png"), {}),
    Odd(47, "percent-encoded", renamed("a b.png", "a%20b.png"), {"path-form": 1}),
    Odd(46, "Windows separators", renamed("x/1.png", "x\\1.png"), {"path-form": 1}),
]  # fmt: skip


@pytest.mark.parametrize("case", ODD, ids=lambda c: f"{c.row}-{c.name}".replace(" ", "-"))
def test_an_odd_file_is_used_and_counted(case: Odd, bdd: Any, snapshot: Any) -> None:
    path = bdd(case.change)
    before = snapshot(path)
    data = open_data(path, max_bad=0.5)
    assert data.reports[0].counts == case.counts
    cars = data.reports[0].per_class["car"]
    assert (cars.used, cars.ignored, cars.quarantined) == case.cars
    check_conserved(data)
    assert case.holds(data)
    assert snapshot(path) == before


def old_document(frame: Document) -> Document:
    """The same picture as a 2018 file of its own."""
    return {
        "name": frame["name"].removesuffix(".jpg"),
        "attributes": {"weather": "clear"},
        "frames": [{"timestamp": 10000, "objects": frame["labels"]}],
    }


@pytest.mark.parametrize("layout", ["2020", "2018, one file", "2018, a file per picture", "files beside", "one file"])
def test_layouts_are_recognised(layout: str, tmp_path: Path) -> None:
    for split, count, first in (("train", 4, 1), ("val", 2, 11)):
        frames = bdd_document(count, first)
        for one in frames:
            one["name"] = one["name"].replace(".png", ".jpg")
            write_picture(tmp_path / "images" / "100k" / split / one["name"], seed=int(one["name"][:-4]))
        names = {
            "2020": f"labels/det_20/det_{split}.json",
            "2018, one file": f"labels/bdd100k_labels_images_{split}.json",
            "files beside": f"bdd100k_labels_images_{split}.json",
        }
        folder = tmp_path / "labels" / "100k" / split
        if layout in names:
            (tmp_path / names[layout]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / names[layout]).write_text(json.dumps(frames))
        elif layout == "one file":
            (tmp_path / f"det_{split}.json").write_text(json.dumps(frames))
        else:
            folder.mkdir(parents=True)
            for one in frames:
                (folder / f"{one['name'][:-4]}.json").write_text(json.dumps(old_document(one)))
    data = open_data(tmp_path / "det_train.json" if layout == "one file" else tmp_path)
    assert data.format == "bdd"
    assert sum(len(part) for part in (data.train, data.val)) == (4 if layout == "one file" else 6)
    assert len(data.train.boxes) == 2 * len(data.train)
    assert data.train.path(0).is_file()


def test_a_file_of_one_picture_has_one_frame(bdd: Any) -> None:
    path = bdd()
    shutil.rmtree(path / "labels")
    (path / "labels" / "100k" / "train").mkdir(parents=True)
    document = old_document(bdd_document(1)[0])
    document["frames"] *= 2
    (path / "labels" / "100k" / "train" / "1.json").write_text(json.dumps(document))
    check_refused(path, "bdd-frames", "holds 2 frames")


def test_raw_categories_are_kept_for_the_metric(bdd: Any) -> None:
    data = open_data(bdd(label(category="other vehicle")), max_bad=0.5)
    details = data.train.details
    assert details is not None
    assert details.identity[:2] == ("other vehicle", "bus")
    assert np.isnan(details.occlusion).all()
    assert (details.parent == -1).all()


def test_results_can_be_judged_without_pictures(bdd: Any) -> None:
    path = bdd()
    shutil.rmtree(path / "images")
    with pytest.raises(DataError, match="picture-missing"):
        open_split(path, split="val")
    known = open_split(path, split="val", with_pictures=False)
    assert known.sizes.tolist() == [[1280, 720]] * 2
    assert len(known.boxes) == 4


def test_the_rendered_scenes_open_by_themselves(shared: Path) -> None:
    data = open_data(shared / "data" / "carla_bdd_dev")
    assert (data.format, len(data.train), len(data.val)) == ("bdd", 170, 60)
    assert (len(data.train.boxes), len(data.val.boxes)) == (395, 136)
    assert [r.counts for r in data.reports] == [{}, {}]
    check_conserved(data)


def test_the_toolkits_examples_are_read_without_complaint(shared: Path) -> None:
    folder = shared / "fixtures" / "bdd_label_sample"
    lanes = bdd_format.read(folder / "example_annotation.json", split="example_annotation.json")
    assert (len(lanes.files), len(lanes.owner), set(lanes.report.counts)) == (1, 0, {"bdd-no-box"})
    source = folder / "example_ignore_annotation.json"
    ignored = bdd_format.read(source, split=source.name)
    assert (len(ignored.files), ignored.labels.tolist()) == (2, [0, 0])
    assert ignored.flags.tolist() == [OCCLUDED | IGNORED, OCCLUDED]


def test_a_picture_of_another_kind_than_named_is_noted(bdd: Any) -> None:
    path = bdd(folder(lambda f: Image.new("RGB", (60, 40)).save(picture(f), "JPEG")))
    assert open_data(path).reports[0].counts == {"picture-suffix": 1}


def rename(folder: Path, frames: Any, index: int, name: str) -> None:
    pictures = folder / "images" / "100k" / "train"
    (pictures / frames[index]["name"]).rename(pictures / name)
    frames[index]["name"] = name


def test_a_video_on_both_sides_is_noted(bdd: Any) -> None:
    def change(frames: Any, folder: Path) -> None:
        frames[0]["videoName"] = frames[1]["videoName"] = "night drive"
        frames[2]["videoName"] = None
        rename(folder, frames, 3, "b1c66a42-6f7d68ca-0000007.jpg")

    folder = bdd(change)
    file = folder / "labels" / "det_20" / "det_val.json"
    frames = json.loads(file.read_text())
    frames[0]["videoName"] = "night drive"
    frames[1]["videoName"] = "b1c66a42-6f7d68ca"  # what the benchmark's names say is known without
    file.write_text(json.dumps(frames))
    report = open_data(folder).reports[1]
    assert report.counts == {"splits-share-video": 2}
    assert [(f.where, f.reason) for f in report.findings] == [
        ("video night drive", "1 of its pictures are judged on, 2 are learned from"),
        ("video b1c66a42-6f7d68ca", "1 of its pictures are judged on, 1 are learned from"),
    ]


def test_a_video_is_not_divided_when_val_is_carved(bdd: Any) -> None:
    def change(frames: Any, _: Path) -> None:
        for frame, video in zip(frames, ("a", "a", "a", "b"), strict=True):
            frame["videoName"] = video

    folder = bdd(change)
    (folder / "labels" / "det_20" / "det_val.json").unlink()
    data = open_data(folder)
    assert {frozenset(data.train.files), frozenset(data.val.files)} == {
        frozenset(("1.png", "2.png", "3.png")),
        frozenset(("4.png",)),
    }
    assert data.reports[0].counts == {"val-carved": 1}


def test_a_single_video_is_divided_all_the_same_and_noted(bdd: Any) -> None:
    def change(frames: Any, _: Path) -> None:
        for frame in frames:
            frame["videoName"] = "a"

    folder = bdd(change)
    (folder / "labels" / "det_20" / "det_val.json").unlink()
    data = open_data(folder)
    assert (len(data.train), len(data.val)) == (3, 1)
    assert data.reports[0].counts == {"val-carved": 1, "splits-share-video": 1}


def test_a_missing_picture_whose_name_turns_the_line_around_is_named_in_plain_letters(bdd: Any) -> None:
    def change(frames: Any, _: Path) -> None:
        frames[0]["name"] = "\u202egpj.1"

    with pytest.raises(DataError, match="picture-missing") as caught:
        open_data(bdd(change))
    assert str(caught.value).isprintable()
