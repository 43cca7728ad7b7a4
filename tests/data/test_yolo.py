"""YOLO folders: every row is a box, a polygon's box, or a reason with its line; data.yaml is plain data."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml as pyyaml
from PIL import Image

from spnas.data.formats.yolo import picture_places, write_labels
from spnas.data.open import open_data
from spnas.data.records import DataSet
from spnas.errors import DataError

from .conftest import YOLO_CAT, YOLO_DOG, YOLO_YAML, check_conserved, check_refused, write_picture


class Bad(NamedTuple):
    row: int  # of the catalogue of bad inputs
    name: str
    given: dict[str, Any]
    code: str
    match: str = ""


def rows(*lines: str) -> dict[str, Any]:
    return {"text": "".join(f"{line}\n" for line in lines)}


def described(**values: Any) -> dict[str, Any]:
    content = {"path": ".", "train": "images/train", "val": "images/val", "nc": 2, "names": ["cat", "dog"]} | values
    return {"yaml": pyyaml.safe_dump({key: value for key, value in content.items() if value is not None})}


def text(yaml: str | bytes) -> dict[str, Any]:
    return {"yaml": yaml}


def change(action: Callable[[Path], Any]) -> dict[str, Any]:
    return {"change": action}


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join([*lines, YOLO_YAML])


def listed(*lines: str) -> dict[str, Any]:
    """Name the training pictures in a list."""

    def write(folder: Path) -> None:
        (folder / "train.txt").write_text("".join(f"{line}\n" for line in lines))

    return described(train="train.txt") | change(write)


POLYGON = "0 0.1 0.1 0.25 0.1 0.25 0.3 0.1 0.3"
MALFORMED = [
    Bad(1, "no data.yaml", change(lambda f: (f / "data.yaml").unlink()), "layout-unknown"),
    Bad(1, "labels are a directory", change(lambda f: ((f / "labels/train/1.txt").unlink(),
        (f / "labels/train/1.txt").mkdir())), "file-not-regular"),
    Bad(1, "labels are a fifo", change(lambda f: ((f / "labels/train/1.txt").unlink(),
        os.mkfifo(f / "labels/train/1.txt"))), "file-not-regular"),
    Bad(4, "UTF-16", {"text": f"{YOLO_CAT}\n".encode("utf-16")}, "file-encoding"),
    Bad(4, "Latin-1", {"text": f"{YOLO_CAT} \xe4\n".encode("latin-1")}, "file-encoding"),
    Bad(4, "a NUL", {"text": f"{YOLO_CAT}\n".encode() + b"\0"}, "file-encoding"),
    Bad(14, "a class beyond the list", rows("2 0.2 0.2 0.1 0.1"), "too-many-bad", "line 1.*class 2.*unknown-class"),
    Bad(14, "a negative class", rows("-1 0.2 0.2 0.1 0.1"), "too-many-bad", "box-unknown-class"),
    Bad(16, "a name twice", described(names=["cat", "cat"]), "class-repeated"),
    Bad(16, "a name empty", described(names=["cat", ""]), "class-empty"),
    Bad(18, "no area", rows("0 0.2 0.2 0 0.1"), "too-many-bad", "box-zero-area"),
    Bad(19, "a negative side", rows("0 0.2 0.2 -0.1 0.1"), "too-many-bad", "box-negative"),
    Bad(23, "outside", rows("0 -0.5 0.2 0.1 0.1"), "too-many-bad", "box-outside"),
    Bad(34, "an empty folder", change(lambda f: [p.unlink() for p in (f / "images/train").iterdir()]), "no-pictures"),
    Bad(34, "no folder", change(lambda f: shutil.rmtree(f / "images/train")), "splits-unknown", "there is no"),
    Bad(34, "a list of what is not there", listed("images/train/9.png"), "yolo-no-labels"),
    Bad(35, "a web page", change(lambda f: (f / "images/train/1.png").write_bytes(b"<html>")), "too-many-bad"),
    Bad(44, "out by dots", described(train="../../elsewhere"), "path-outside"),
    Bad(44, "out by path", described(path="../..", train="etc"), "path-outside"),
    Bad(44, "a list that leads out", listed("../../etc/passwd.png"), "path-outside"),
    Bad(44, "a list of absolute names", listed("/etc/passwd.png"), "path-absolute"),
    Bad(44, "a list of URLs", listed("https://example.org/1.png"), "path-url"),
    Bad(49, "two pictures of a stem", change(lambda f: Image.new("L", (60, 40)).save(f / "images/train/1.jpg")),
        "picture-stem-shared", "1.jpg and .*1.png share"),
    Bad(52, "no label files", change(lambda f: shutil.rmtree(f / "labels/train")), "yolo-no-labels", "none of 4"),
    Bad(52, "four columns", rows("0 0.2 0.2 0.1"), "too-many-bad", "line 1.*has 4 columns"),
    Bad(52, "six columns", rows(YOLO_DOG, "0 0.2 0.2 0.1 0.1 0.9"), "too-many-bad", "line 2.*has 6 columns"),
    Bad(52, "eight columns", rows("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4"), "too-many-bad", "has 8 columns"),
    Bad(52, "class 3.7", rows("3.7 0.2 0.2 0.1 0.1"), "too-many-bad", "class 3.7 is no whole number"),
    Bad(52, "class a word", rows("cat 0.2 0.2 0.1 0.1"), "too-many-bad", "yolo-class"),
    Bad(52, "pixels", rows("0 12 20 6 8"), "too-many-bad", "20 is no share of the picture"),
    Bad(52, "commas", rows("0,0.2,0.2,0.1,0.1"), "too-many-bad", "yolo-commas"),
    Bad(52, "commas and blanks", rows("0, 0.2, 0.2, 0.1, 0.1"), "too-many-bad", "box-not-four-numbers"),
    Bad(52, "NaN", rows("0 nan 0.2 0.1 0.1"), "too-many-bad", "box-not-finite"),
    Bad(52, "infinity", rows("0 0.2 inf 0.1 0.1"), "too-many-bad", "box-not-finite"),
    Bad(52, "1e999", rows("0 0.2 0.2 1e999 0.1"), "too-many-bad", "box-not-finite"),
    Bad(52, "NaN in a polygon", rows("0 0.1 nan 0.2 0.2 0.3 0.3"), "too-many-bad", "box-not-finite"),
    Bad(52, "an underscore", rows("0 0.2 0.2 0.1 0_1"), "too-many-bad", "box-not-four-numbers"),
    Bad(52, "digits of another script", rows("0 0.2 0.2 0.1 ٠.1"), "too-many-bad", "box-not-four-numbers"),
    Bad(52, "a long line", rows("0 " + "0.1 " * 400_000), "too-many-bad", "columns"),
    Bad(53, "a Python object", text(YOLO_YAML + "x: !!python/object/apply:os.system ['true']\n"), "yaml-syntax",
        r"line 6.*python/object"),
    Bad(53, "a Python name", text(YOLO_YAML + "x: !!python/name:os.system\n"), "yaml-syntax"),
    Bad(53, "an alias bomb", text(bomb(9)), "yaml-too-large", "aliases unfold"),
    Bad(53, "an alias of itself", text(YOLO_YAML + "x: &x [*x]\n"), "yaml-too-large"),
    Bad(53, "deep nesting", text(YOLO_YAML + "x: " + "[" * 500), "yaml-too-large", "nests"),
    Bad(53, "too large", text(YOLO_YAML + "#" * (5 << 20)), "file-too-large"),
    Bad(53, "a key twice", text(YOLO_YAML + "names: [a, b]\n"), "yaml-repeated-key", "'names'"),
    Bad(53, "no YAML", text("names: [cat, dog\n"), "yaml-syntax", r"line \d"),
    Bad(53, "a tab", text("names:\n\t- cat\n"), "yaml-syntax"),
    Bad(53, "two documents", text(YOLO_YAML + "---\nx: 1\n"), "yaml-syntax"),
    Bad(53, "an impossible date", text(YOLO_YAML + "when: 2001-99-99\n"), "yaml-syntax"),
    Bad(53, "a list", text("- names\n"), "yolo-yaml", "holds no keys"),
    Bad(53, "names a word", described(names="names"), "yolo-names"),
    Bad(53, "names with a gap", described(names={0: "cat", 2: "dog"}), "yolo-names", "has no class 1"),
    Bad(53, "names by words", described(names={"cat": 0, "dog": 1}), "yolo-names", "keys that are no numbers"),
    Bad(53, "a name that is a truth value", text(YOLO_YAML.replace("dog", "no")), "yolo-names", r"names\[1\].*quote"),
    Bad(53, "a name that is nothing", text(YOLO_YAML.replace("dog", "~")), "yolo-names", r"names\[1\]"),
    Bad(53, "nc differs", described(nc=3), "yolo-class-count", "nc is 3, there are 2 names"),
    Bad(53, "nc a word", described(nc="two"), "yolo-class-count"),
    Bad(53, "an absolute path", described(path="/data/set"), "path-absolute"),
    Bad(53, "train a number", described(train=5), "yolo-yaml", "train"),
    Bad(53, "nothing to train on", described(train=None), "splits-unknown", "nothing to train on; expected YOLO"),
]  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED, ids=lambda c: f"{c.row}-{c.name}".replace(" ", "-"))
def test_a_malformed_folder_is_refused(case: Bad, yolo: Any) -> None:
    check_refused(yolo(**case.given), case.code, case.match)


class Odd(NamedTuple):
    row: int
    name: str
    given: dict[str, Any]
    counts: dict[str, int]
    cats: tuple[int, int, int] = (4, 0, 0)  # used, ignored, quarantined
    holds: Callable[[DataSet], bool] = lambda _: True


CAT = (5.0, 4.0, 15.0, 12.0)


def is_cat(data: DataSet) -> bool:
    return bool(np.allclose(data.train.boxes[0], CAT, atol=1e-6))


ODD = [
    Odd(0, "nothing odd", {}, {}, holds=lambda d: is_cat(d) and d.train.category_ids == (0, 1)),
    Odd(4, "a byte order mark", {"text": b"\xef\xbb\xbf" + f"{YOLO_CAT}\n".encode()}, {"byte-order-mark": 1}),
    Odd(52, "Windows line ends", {"text": f"{YOLO_CAT}\r\n{YOLO_DOG}\r\n"}, {}, holds=is_cat),
    Odd(52, "no line end", {"text": YOLO_CAT}, {}, holds=is_cat),
    Odd(52, "blank lines", rows("", YOLO_CAT, "  ", YOLO_DOG), {}, holds=is_cat),
    Odd(52, "tabs", rows(YOLO_CAT.replace(" ", "\t")), {}, holds=is_cat),
    Odd(52, "exponents", rows("0 1.6666667e-1 2E-1 0.16666667 +.2"), {}, holds=is_cat),
    Odd(52, "class 0.0", rows(YOLO_CAT.replace("0 ", "0.0 ", 1)), {}, holds=is_cat),
    Odd(52, "an empty file", {"text": ""}, {}, (3, 0, 0), lambda d: d.reports[0].empty_images == 1),
    Odd(52, "a blank file", {"text": " \n\n"}, {}, (3, 0, 0)),
    Odd(52, "no file", change(lambda f: (f / "labels/train/1.txt").unlink()), {"yolo-no-label": 1}, (3, 0, 0)),
    Odd(52, "a polygon", rows(POLYGON, YOLO_DOG), {"yolo-polygon": 1},
        holds=lambda d: np.allclose(d.train.boxes[0], (6, 4, 15, 12))),
    Odd(52, "six columns", rows(YOLO_CAT, "0 0.2 0.2 0.1 0.1 0.9"), {"yolo-columns": 1}, (4, 0, 1)),
    Odd(52, "class 3.7", rows(YOLO_CAT, "3.7 0.2 0.2 0.1 0.1"), {"yolo-class": 1},
        holds=lambda d: d.reports[0].per_class["class 3.7"].quarantined == 1),
    Odd(52, "a class beyond the list", rows(YOLO_CAT, "2 0.2 0.2 0.1 0.1"), {"box-unknown-class": 1}),
    Odd(52, "NaN", rows(YOLO_CAT, "0 nan 0.2 0.1 0.1"), {"box-not-finite": 1}, (4, 0, 1)),
    Odd(52, "just above 1", rows("0 0.99 0.2 0.02 1.005"), {"box-clipped": 1}),
    Odd(22, "partly outside", rows("0 0.01 0.2 0.1 0.1"), {"box-clipped": 1}),
    Odd(52, "labels without a picture", change(lambda f: (f / "labels/train/9.txt").write_text("")),
        {"yolo-orphan": 1}),
    Odd(52, "classes.txt", change(lambda f: (f / "labels/train/classes.txt").write_text("cat\ndog\n")), {}),
    Odd(53, "names by numbers", described(names={0: "cat", 1: "dog"}), {}, holds=is_cat),
    Odd(53, "names by numbers, turned", described(names={1: "dog", 0: "cat"}), {}, holds=is_cat),
    Odd(53, "no nc", described(nc=None), {}),
    Odd(53, "no path", described(path=None), {}),
    Odd(53, "an alias", text(YOLO_YAML + "x: &x [1, 2]\ny: *x\n"), {}),
    Odd(53, "other keys", described(download="rm -rf /", roboflow={"license": "CC"}), {}),
    Odd(53, "valid for val", described(val=None, valid="images/val"), {}),
    Odd(53, "Roboflow's dots", described(path=None, train="../images/train"), {"yolo-place": 1}),
    Odd(53, "a place below path", described(path="images", train="train", val="val"), {}, holds=is_cat),
    Odd(53, "two places", described(train=["images/train"]), {}, holds=is_cat),
    Odd(53, "a list", listed(*(f"images/train/{n}.png" for n in range(1, 5))), {}, holds=is_cat),
    Odd(53, "a list from here", listed(*(f"./images/train/{n}.png" for n in range(1, 5))), {}, holds=is_cat),
    Odd(53, "a name that is a number", described(names=[1, "dog"]), {}, (0, 0, 0),
        lambda d: d.train.classes == ("1", "dog")),
    Odd(16, "names that differ by case", described(names=["dog", "Dog"]), {"class-case": 1}, (0, 0, 0)),
]  # fmt: skip


@pytest.mark.parametrize("case", ODD, ids=lambda c: f"{c.row}-{c.name}".replace(" ", "-"))
def test_an_odd_folder_is_used_and_counted(case: Odd, yolo: Any, snapshot: Any) -> None:
    path = yolo(**case.given)
    before = snapshot(path)
    data = open_data(path, max_bad=0.5)
    assert data.reports[0].counts == case.counts
    found = data.reports[0].per_class.get("cat")
    assert (found.used, found.ignored, found.quarantined) == case.cats if found else case.cats == (0, 0, 0)
    check_conserved(data)
    assert case.holds(data)
    assert snapshot(path) == before


def test_a_data_yaml_can_be_named(yolo: Any) -> None:
    path = yolo()
    assert open_data(path / "data.yaml").train.files == open_data(path).train.files
    (path / "data.yaml").rename(path / "mine.yaml")
    assert len(open_data(path / "mine.yaml", train="images/val", val="images/train").train) == 2
    with pytest.raises(DataError, match=r"no split 'vaal'; did you mean 'val'"):
        open_data(path / "mine.yaml", train="vaal")


def test_roboflows_folders_are_read(tmp_path: Path) -> None:
    for split, count, first in (("train", 4, 1), ("valid", 2, 11)):
        for number in range(first, first + count):
            write_picture(tmp_path / split / "images" / f"{number}.png", seed=number)
            (tmp_path / split / "labels").mkdir(exist_ok=True)
            (tmp_path / split / "labels" / f"{number}.txt").write_text(YOLO_CAT)
    (tmp_path / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['cat']\n")
    data = open_data(tmp_path)
    assert (len(data.train), len(data.val), len(data.train.boxes)) == (4, 2, 4)


def test_an_absolute_path_to_itself_is_no_fault(yolo: Any, tmp_path: Path) -> None:
    path = yolo(**described(path=str(tmp_path / "data")))
    assert len(open_data(path).train) == 4


def test_what_is_written_is_read_back(yolo: Any, tmp_path: Path) -> None:
    data = open_data(yolo())
    files = write_labels(data.train)
    for name, content in files.items():
        (tmp_path / "again" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "again" / name).write_text(content)
    places = picture_places(data.train)
    for index, place in enumerate(places):
        (tmp_path / "again" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data.train.path(index), tmp_path / "again" / place)
    again = open_data(tmp_path / "again", val="images/train", allow_overlap=True).train
    assert (again.classes, list(again.files)) == (data.train.classes, places)
    assert np.allclose(again.boxes, data.train.boxes, atol=1e-5)
    assert again.labels.tolist() == data.train.labels.tolist()


def test_a_bomb_costs_no_time(yolo: Any) -> None:
    path = yolo(yaml=bomb(60))
    begun = time.process_time()
    with pytest.raises(DataError, match="yaml-too-large"):
        open_data(path)
    assert time.process_time() - begun < 0.5
