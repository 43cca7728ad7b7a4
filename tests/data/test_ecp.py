"""EuroCity Persons: regions, tags and vehicles keep their meaning; malformed files are refused in one line."""

import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from spnas.data.formats.ecp import write_detections
from spnas.data.open import open_data, open_split
from spnas.data.records import BEHIND_GLASS, DEPICTION, IGNORED, OCCLUDED, OTHER_TAG, SITTING_LYING, TRUNCATED, DataSet
from spnas.errors import DataError

from .conftest import check_conserved, check_refused, ecp_node

Change = Callable[[Any, Path], bytes | None]


def node(**values: Any) -> Change:
    return lambda frame, _: frame["children"][0].update(values)


def frame(**values: Any) -> Change:
    return lambda frame, _: frame.update(values)


def drop(*keys: str) -> Change:
    return lambda frame, _: [frame.pop(key) for key in keys] and None


def box(*numbers: float | None) -> Change:
    return node(**dict(zip(("x0", "y0", "x1", "y1"), numbers, strict=True)))


def add(*nodes: dict[str, Any]) -> Change:
    return lambda frame, _: frame["children"].extend(nodes)


def raw(text: bytes) -> Change:
    return lambda _d, _f: text


def after(change: Callable[[str], str]) -> Change:
    return lambda frame, _: change(json.dumps(frame)).encode("utf-8", "surrogatepass")


def folder(action: Callable[[Path], Any]) -> Change:
    def change(_: Any, path: Path) -> None:
        action(path)

    return change


def target(path: Path) -> Path:
    (path / "labels" / "train" / "Köln").mkdir(parents=True, exist_ok=True)
    return path / "labels" / "train" / "Köln" / "Köln_1.json"


def picture(path: Path) -> Path:
    return path / "img" / "train" / "Köln" / "Köln_1.png"


def nested(depth: int) -> Change:
    def change(frame: Any, _: Path) -> None:
        inner = frame["children"][0]
        for _step in range(depth):
            inner["children"] = [ecp_node()]
            inner = inner["children"][0]

    return change


class Bad(NamedTuple):
    row: int  # of the catalogue of bad inputs
    name: str
    change: Change
    code: str
    match: str = ""


MALFORMED = [
    Bad(1, "a directory", folder(lambda f: target(f).mkdir()), "file-not-regular"),
    Bad(1, "empty", raw(b""), "file-empty"),
    Bad(1, "blank", raw(b"\n"), "file-empty"),
    Bad(1, "a dangling link", folder(lambda f: target(f).symlink_to("gone")), "file-missing"),
    Bad(1, "a fifo", folder(lambda f: os.mkfifo(target(f))), "file-not-regular"),
    Bad(2, "not JSON", raw(b"hello"), "json-syntax", "line 1:1"),
    Bad(2, "truncated", after(lambda t: t[:100]), "json-syntax", r"line 1:101"),
    Bad(2, "trailing bytes", after(lambda t: t + "}"), "json-syntax", "trailing"),
    Bad(3, "a list", raw(b"[]"), "json-value", "expected a frame"),
    Bad(3, "another identity", frame(identity="pedestrian"), "ecp-root", "'pedestrian'.*expected \"frame\""),
    Bad(3, "children of the wrong type", frame(children={}), "json-value", "children"),
    Bad(3, "a child of the wrong type", frame(children=[5]), "json-value", r"children\[0\]"),
    Bad(4, "UTF-16", lambda d, _: json.dumps(d).encode("utf-16"), "file-encoding"),
    Bad(4, "Latin-1", after(lambda t: t.replace('"pedestrian"', '"p\udce9ton"')), "file-encoding"),
    Bad(5, "identity twice", after(lambda t: t.replace('"identity"', '"identity": "x", "identity"', 1)),
        "json-repeated-key", "'identity'"),
    Bad(5, "corner twice", after(lambda t: t.replace('"x0"', '"x0": 1, "x0"', 1)), "json-repeated-key", "'x0'"),
    Bad(5, "children twice", after(lambda t: t[:-1] + ', "children": []}'), "json-repeated-key", "'children'"),
    Bad(5, "escaped", after(lambda t: t.replace('"x0"', r'"x0": 1, "\u00780"', 1)), "json-repeated-key", "'x0'"),
    Bad(6, "NaN", box(float("nan"), 4, 15, 12), "json-syntax"),
    Bad(6, "1e999", after(lambda t: t.replace('"x0": 5', '"x0": 1e999', 1)), "json-value", r"children\[0\]\.x0"),
    Bad(7, "deep nesting", raw(b'{"children": ' + b"[" * 100_000), "json-value", "children"),
    Bad(7, "deep nesting, skipped", raw(b'{"x": ' + b"[" * 100_000), "json-too-deep"),
    Bad(7, "children of children of children", nested(12), "json-too-deep", r"(children\[0\]\.?){9}"),
    Bad(7, "children without end", raw(b'{"identity": "frame", "children": ['
        + b'{"identity": "rider", "children": [' * 20_000), "json-too-deep"),
    Bad(8, "no identity", lambda d, _: d["children"][0].pop("identity") and None, "json-value", r"children\[0\]"),
    Bad(14, "an unknown identity", node(identity="cow"), "too-many-bad", "box-unknown-class"),
    Bad(18, "no area", box(5, 4, 5, 12), "too-many-bad", "box-zero-area"),
    Bad(19, "x0 > x1", box(15, 4, 5, 12), "too-many-bad", r"children\[0\].*box-negative"),
    Bad(21, "absurd", box(5, 4, 1e30, 12), "too-many-bad", "box-absurd"),
    Bad(23, "outside", box(70, 4, 80, 12), "too-many-bad", "box-outside"),
    Bad(25, "another size", frame(imagewidth=61), "picture-size-differs", "61 x 40"),
    Bad(25, "size swapped", frame(imagewidth=40, imageheight=60), "picture-size-differs", "swapped"),
    Bad(30, "no corner", lambda d, _: d["children"][0].pop("x1") and None, "too-many-bad", "box-not-four-numbers"),
    Bad(30, "a null", box(5, None, 15, 12), "too-many-bad", "box-not-four-numbers"),
    Bad(30, "a string", node(x0="5"), "json-value", r"children\[0\]\.x0"),
    Bad(30, "tags of the wrong type", node(tags="occluded>10"), "json-value", r"children\[0\]\.tags"),
    Bad(34, "a picture missing", folder(lambda f: picture(f).unlink()), "picture-missing", "1 of 4"),
    Bad(35, "a web page", folder(lambda f: picture(f).write_bytes(b"<html>")), "too-many-bad", "picture-not-one"),
    Bad(45, "a link that leads out", folder(lambda f: (picture(f).rename(f.parent / "out.png"),
        picture(f).symlink_to(f.parent / "out.png"))), "path-outside"),
    Bad(49, "two pictures of a stem", folder(lambda f: Image.new("L", (60, 40)).save(picture(f).with_suffix(".jpg"))),
        "picture-stem-shared", "jpg and .*png share"),
]  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED, ids=lambda c: f"{c.row}-{c.name}".replace(" ", "-"))
def test_a_malformed_folder_is_refused(case: Bad, ecp: Any) -> None:
    check_refused(ecp(case.change), case.code, case.match)


class Odd(NamedTuple):
    row: int
    name: str
    change: Change
    counts: dict[str, int]
    pedestrians: tuple[int, int, int] = (4, 0, 0)  # used, ignored, quarantined
    holds: Callable[[DataSet], bool] = lambda _: True


def said(flags: int, *, occlusion: float = 0.0, truncation: float = 0.0, tags: int = 0) -> Callable[[DataSet], bool]:
    def holds(data: DataSet) -> bool:
        details = data.train.details
        assert details is not None
        found = (data.train.flags[0], details.occlusion[0], details.truncation[0], details.tags[0])
        return found == (flags, occlusion, truncation, tags)

    return holds


def region(identity: str, label: int) -> Callable[[DataSet], bool]:
    def holds(data: DataSet) -> bool:
        assert data.train.details is not None
        row = data.train.details.identity.index(identity)
        return bool(data.train.flags[row] == IGNORED and data.train.labels[row] == label)

    return holds


GROUP = (10, 10, 30, 30)
ODD = [
    Odd(0, "nothing odd", lambda _d, _f: None, {}, holds=said(0)),
    Odd(4, "a byte order mark", lambda d, _: b"\xef\xbb\xbf" + json.dumps(d).encode(), {"byte-order-mark": 1}),
    Odd(5, "keys inside other objects", frame(orient={"x0": 1, "identity": 2, "children": []}), {}),
    Odd(22, "partly outside", box(-3, 4, 15, 12), {"box-clipped": 1}),
    Odd(14, "an unknown identity", node(identity="cow"), {"box-unknown-class": 1}, (3, 0, 0)),
    Odd(18, "no area", box(5, 4, 5, 12), {"box-zero-area": 1}, (3, 0, 1)),
    Odd(31, "no children", frame(children=[]), {}, (3, 0, 0), lambda d: d.reports[0].empty_images == 1),
    Odd(31, "children missing", drop("children"), {}, (3, 0, 0)),
    Odd(31, "children null", frame(children=None), {}, (3, 0, 0)),
    Odd(55, "no size", drop("imagewidth", "imageheight"), {"picture-size-unstated": 1}),
    Odd(55, "tags missing", lambda d, _: d["children"][0].pop("tags") or None, {}, holds=said(0)),
    Odd(55, "tags null", node(tags=None), {}, holds=said(0)),
    *(Odd(55, f"occluded by {share}", node(tags=[f"occluded>{share}"]), {},
          holds=said(OCCLUDED, occlusion=share / 100)) for share in (10, 40, 80)),
    Odd(55, "two shares", node(tags=["occluded>10", "occluded>40"]), {}, holds=said(OCCLUDED, occlusion=0.4)),
    Odd(55, "truncated", node(tags=["truncated>40"]), {}, holds=said(TRUNCATED, truncation=0.4)),
    Odd(55, "sitting", node(tags=["sitting-lying"]), {}, (3, 1, 0), said(IGNORED, tags=SITTING_LYING)),
    Odd(55, "behind glass", node(tags=["behind-glass"]), {}, (3, 1, 0), said(IGNORED, tags=BEHIND_GLASS)),
    Odd(55, "depicted", node(tags=["depiction"]), {}, (3, 1, 0), said(IGNORED, tags=DEPICTION)),
    Odd(55, "another tag", node(tags=["unsure-orientation"]), {}, holds=said(0, tags=OTHER_TAG)),
    Odd(55, "a group of persons", add(ecp_node("person-group-far-away", GROUP)), {}, (4, 1, 0),
        region("person-group-far-away", 0)),
    *(Odd(55, f"a region: {name}", add(ecp_node(name, GROUP)), {}, holds=region(name, 1))
      for name in ("rider+vehicle-group-far-away", "bicycle-group", "bicycle", "wheelchair-group")),
    Odd(55, "a person of a rider", lambda d, _: d["children"][1]["children"].append(ecp_node()), {}, (5, 0, 0)),
    Odd(55, "orientation", node(orient=1.5, unsure=True), {}),
]  # fmt: skip


@pytest.mark.parametrize("case", ODD, ids=lambda c: f"{c.row}-{c.name}".replace(" ", "-"))
def test_an_odd_file_is_used_and_counted(case: Odd, ecp: Any, snapshot: Any) -> None:
    path = ecp(case.change)
    before = snapshot(path)
    data = open_data(path, max_bad=0.5)
    assert data.reports[0].counts == case.counts
    found = data.reports[0].per_class["pedestrian"]
    assert (found.used, found.ignored, found.quarantined) == case.pedestrians
    check_conserved(data)
    assert case.holds(data)
    assert snapshot(path) == before


def test_a_vehicle_knows_its_rider(ecp: Any) -> None:
    def change(frame: Any, _: Path) -> None:
        frame["children"][0].update(x1=5)  # of no area: left out, and the rows behind it move up
        frame["children"][1]["children"] = [ecp_node("bicycle", (28, 25, 52, 38))]

    data = open_data(ecp(change), max_bad=0.5)
    details = data.train.details
    assert details is not None
    assert details.identity[:2] == ("rider", "bicycle")
    assert details.parent.tolist() == [-1, 0, *[-1] * 6]
    later = data.train.select(data.train.first[[0]] + 1, name="later")
    assert later.details is not None
    assert later.details.parent.tolist() == [-1, -1]
    again = data.train.select(data.train.first[[0, 0]][:1] + 0, name="first")
    assert again.details is not None
    assert again.details.parent.tolist() == [-1, 0]


def test_a_vehicle_without_its_rider_is_on_its_own(ecp: Any) -> None:
    def change(frame: Any, _: Path) -> None:
        frame["children"][1].update(x1=30)
        frame["children"][1]["children"] = [ecp_node("bicycle", (28, 25, 52, 38))]

    details = open_data(ecp(change), max_bad=0.5).train.details
    assert details is not None
    assert details.identity[:2] == ("pedestrian", "bicycle")
    assert details.parent.tolist() == [-1] * 8


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_city_may_be_written_in_another_unicode_form(form: str, ecp: Any) -> None:
    path = ecp()
    city = path / "img" / "train" / "Köln"
    for file in list(city.iterdir()):
        file.rename(file.with_name(unicodedata.normalize(form, file.name)))
    city.rename(city.with_name(unicodedata.normalize(form, city.name)))
    data = open_data(path)
    assert data.train.path(0).is_file()
    assert data.reports[0].counts == {}
    assert data.train.image_ids[0] == "Köln_1"


def test_day_and_night_are_looked_into(ecp: Any, tmp_path: Path) -> None:
    (tmp_path / "ECP").mkdir()
    ecp().rename(tmp_path / "ECP" / "night")
    assert open_data(tmp_path / "ECP").format == "ecp"


def test_stems_of_two_cities_may_be_the_same(ecp: Any) -> None:
    path = ecp()
    for kind, suffix in (("labels", "json"), ("img", "png")):
        folder = path / kind / "train"
        (folder / "lyon" / f"lyon_3.{suffix}").rename(folder / "lyon" / f"Köln_1.{suffix}")
    assert open_data(path).train.image_ids == ("Köln/Köln_1", "Köln/Köln_2", "lyon/Köln_1", "lyon/lyon_4")


def test_a_recording_on_both_sides_is_noted_and_a_city_is_none(ecp: Any) -> None:
    path = ecp()
    for kind, suffix in (("labels", "json"), ("img", "png")):
        for split, city, old, new in (
            ("train", "lyon", "lyon_3", "lyon_00007_000100"),
            ("train", "lyon", "lyon_4", "lyon_00007_000101"),
            ("val", "rome", "rome_5", "lyon_00007_000102"),
            ("val", "rome", "rome_6", "lyon_9"),
        ):
            folder = path / kind / split / city
            (folder / f"{old}.{suffix}").rename(folder / f"{new}.{suffix}")
    report = open_data(path).reports[1]
    assert report.counts == {"splits-share-video": 1}
    (finding,) = report.findings
    assert finding.where == "video lyon_00007"
    assert finding.reason == "1 of its pictures are judged on, 2 are learned from"


def test_results_can_be_judged_without_pictures(ecp: Any) -> None:
    path = ecp()
    shutil.rmtree(path / "img")
    with pytest.raises(DataError, match="picture-missing"):
        open_split(path, split="val")
    assert open_split(path, split="val", with_pictures=False).sizes.tolist() == [[60, 40]] * 2
    with pytest.raises(DataError, match=r"no split 'vall'; did you mean 'val'"):
        open_split(path, split="vall", with_pictures=False)


def test_sizes_are_needed_where_pictures_are_not_looked_at(ecp: Any) -> None:
    path = ecp(drop("imagewidth"))
    with pytest.raises(DataError, match="picture-size-needed"):
        open_split(path, split="train", with_pictures=False)


def test_detections_are_written_as_the_benchmark_reads_them(ecp: Any) -> None:
    known = open_data(ecp()).val
    files = write_detections(
        known,
        image_index=np.array([1, 1]),
        labels=np.array([0, 1]),
        boxes=np.array([[5.0, 4, 15, 12.12345], [30, 20, 50, 32]]),
        scores=np.array([0.25, 0.5]),
    )
    assert sorted(files) == ["rome_5.json", "rome_6.json"]
    assert json.loads(files["rome_5.json"]) == {"identity": "frame", "children": []}
    first, second = json.loads(files["rome_6.json"])["children"]
    assert first == {"identity": "pedestrian", "score": 0.25, "x0": 5.0, "y0": 4.0, "x1": 15.0, "y1": 12.123}
    assert second["identity"] == "rider"


def test_the_benchmarks_example_keeps_all_that_its_metric_needs(shared: Path) -> None:
    known = open_split(shared / "fixtures" / "ecp_synth", split="val", with_pictures=False)
    details = known.details
    assert details is not None
    assert (len(known), len(known.boxes)) == (75, 367)
    assert details.identity.count("pedestrian") == 240
    assert details.identity.count("rider") == 48
    assert int((details.parent >= 0).sum()) == 51
    owner = [details.identity[p] for p in details.parent[details.parent >= 0]]
    assert set(owner) == {"rider"}
    assert {round(float(v), 1) for v in details.occlusion} == {0.0, 0.1, 0.4, 0.8}
    assert sum(int(t & SITTING_LYING > 0) for t in details.tags) == 17
