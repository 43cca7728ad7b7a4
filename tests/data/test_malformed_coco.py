"""Every malformed COCO folder is refused in one line that names the file, at once, and nothing is touched."""

import contextlib
import json
import os
import random
import re
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from spnas.data.open import open_data
from spnas.errors import DataError

Document = dict[str, Any]


class Case(NamedTuple):
    row: int  # of the catalogue of bad inputs
    name: str
    change: Callable[[Document, Path], bytes | None]
    code: str
    match: str = ""


def raw(text: bytes) -> Callable[[Document, Path], bytes]:
    return lambda _d, _f: text


def after(change: Callable[[str], str]) -> Callable[[Document, Path], bytes]:
    """Change the text of the otherwise good file."""
    return lambda document, _: change(json.dumps(document)).encode("utf-8", "surrogatepass")


def put(path: str, value: Any) -> Callable[[Document, Path], None]:
    """Set one value of the document, `path` like images.0.id."""

    def change(document: Document, _: Path) -> None:
        *steps, last = [int(s) if s.isdigit() else s for s in path.split(".")]
        place: Any = document
        for step in steps:
            place = place[step]
        place[last] = value

    return change


def drop(path: str) -> Callable[[Document, Path], None]:
    def change(document: Document, _: Path) -> None:
        *steps, last = [int(s) if s.isdigit() else s for s in path.split(".")]
        place: Any = document
        for step in steps:
            place = place[step]
        del place[last]

    return change


def box(*numbers: float) -> Callable[[Document, Path], None]:
    return put("annotations.0.bbox", list(numbers))


def every_box(write: Callable[[list[float]], list[float]]) -> Callable[[Document, Path], None]:
    """Rewrite all boxes, of many more than the usual eight."""

    def change(document: Document, _: Path) -> None:
        document["annotations"] = [
            {"id": n, "image_id": n % 4 + 1, "category_id": 1, "bbox": write([x, y, 12, 9])}
            for n, (x, y) in enumerate((x, y) for x in range(0, 48, 4) for y in range(0, 31, 3))
        ]

    return change


def file(action: Callable[[Path], Any]) -> Callable[[Document, Path], None]:
    return lambda _, folder: action(folder)


def target(folder: Path) -> Path:
    (folder / "annotations").mkdir(exist_ok=True)
    return folder / "annotations" / "instances_train.json"


def swap_picture(folder: Path, data: bytes) -> None:
    (folder / "train" / "1.png").write_bytes(data)


def replace_by(folder: Path, make: Callable[[Path], Any]) -> None:
    (folder / "train" / "1.png").unlink()
    make(folder / "train" / "1.png")


def unlinked(folder: Path) -> None:
    for n in range(1, 4):
        (folder / "train" / f"{n}.png").unlink()


def bomb(path: Path) -> None:
    """A PNG whose header claims 20,000 x 20,000 pixels."""
    Image.new("L", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = (20_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(data))


def animated(path: Path) -> None:
    frames = [Image.new("RGB", (60, 40), c) for c in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def renamed(name: str) -> Callable[[Document, Path], None]:
    return put("images.0.file_name", name)


def outside_link(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere.png"
    (folder / "train" / "1.png").rename(elsewhere)
    (folder / "train" / "1.png").symlink_to(elsewhere)


DEEP = b'{"info": ' + b"[" * 100_000
LONG = "9" * 5000
CASES = [
    Case(1, "a directory", file(lambda f: target(f).mkdir()), "file-not-regular"),
    Case(1, "empty", raw(b""), "file-empty"),
    Case(1, "blank", raw(b" \n\n"), "file-empty"),
    Case(1, "a dangling link", file(lambda f: target(f).symlink_to("gone")), "file-missing"),
    Case(1, "a fifo", file(lambda f: os.mkfifo(target(f))), "file-not-regular"),
    Case(2, "not JSON", raw(b"hello"), "json-syntax", r"line 1:1 \(byte 0\)"),
    Case(2, "truncated", after(lambda t: t[:200]), "json-syntax", r"line 1:201 \(byte 200\)"),
    Case(2, "trailing bytes", after(lambda t: "\n\n" + t + "\n }"), "json-syntax", r"line 4:2 \(byte \d+\)"),
    Case(2, "a second document", after(lambda t: t + t), "json-syntax", "trailing"),
    Case(2, "single quotes", after(lambda t: t.replace('"', "'")), "json-syntax", r"line 1:2 \(byte 1\)"),
    Case(2, "a comment", after(lambda t: "// boxes\n" + t), "json-syntax", "line 1:1"),
    Case(2, "a comma too many", after(lambda t: t.replace("]}", ",]}", 1)), "json-syntax"),
    Case(2, "a control character", after(lambda t: t.replace("1.png", "1\x01.png")), "json-syntax"),
    Case(2, "a lone surrogate", after(lambda t: t.replace("1.png", r"\ud800.png")), "json-syntax"),
    Case(3, "a list", raw(b"[]"), "json-value", "expected an object with images, annotations, categories"),
    Case(3, "a string", raw(b'"coco"'), "json-value", "expected an object"),
    Case(3, "null", raw(b"null"), "json-value", "expected an object"),
    Case(3, "images of the wrong type", put("images", {}), "json-value", "images"),
    Case(3, "an image of the wrong type", put("images.2", 5), "json-value", r"images\[2\]"),
    Case(4, "UTF-16", lambda d, _: json.dumps(d).encode("utf-16"), "file-encoding"),
    Case(4, "UTF-32", lambda d, _: json.dumps(d).encode("utf-32"), "file-encoding"),
    Case(4, "Latin-1", lambda d, _: json.dumps(d).replace("cat", "k\xe4tzchen").encode("latin-1"), "file-encoding"),
    Case(4, "Latin-1, skipped", lambda d, _: json.dumps(d)[:-1].encode() + b', "x": "\xe4"}', "file-encoding"),
    Case(5, "key twice on top", after(lambda t: '{"images": [], ' + t[1:]), "json-repeated-key", "'images'"),
    Case(
        5,
        "key twice in a record",
        after(lambda t: t.replace('"bbox"', '"bbox": [1, 1, 2, 2], "bbox"', 1)),
        "json-repeated-key",
        r"annotations\[0\].*'bbox'",
    ),
    Case(
        5,
        "key twice, once escaped",
        after(lambda t: t.replace('"id": 3', r'"id": 3, "\u0069d": 4', 1)),
        "json-repeated-key",
        r"images\[2\].*'id'",
    ),
    Case(
        5,
        "key twice in a class",
        after(lambda t: t.replace('"name"', '"name": "x", "name"', 1)),
        "json-repeated-key",
        r"categories\[0\].*'name'",
    ),
    Case(6, "NaN", after(lambda t: t.replace("[5, 4", "[NaN, 4", 1)), "json-syntax", "line 1"),
    Case(6, "Infinity", after(lambda t: t.replace("[5, 4", "[5, Infinity", 1)), "json-syntax"),
    Case(6, "-Infinity", after(lambda t: t.replace("[5, 4", "[5, -Infinity", 1)), "json-syntax"),
    Case(6, "1e999", after(lambda t: t.replace("[5, 4", "[5, 1e999", 1)), "json-value", r"annotations\[0\].bbox"),
    Case(6, "NaN in a skipped field", after(lambda t: t[:-1] + ', "x": NaN}'), "json-syntax"),
    Case(7, "deep nesting", raw(DEEP), "json-too-deep", r"byte 7\d"),
    Case(
        7,
        "deep nesting, skipped",
        after(lambda t: t[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        "json-too-deep",
        r"line 1:\d+",
    ),
    Case(7, "5000 digits", after(lambda t: t.replace('"id": 3', f'"id": {LONG}', 1)), "json-value", r"images\[2\]"),
    Case(7, "5000 digits in a box", after(lambda t: t.replace("[5, 4", f"[5, {LONG}", 1)), "json-value"),
    *(Case(8, f"no {key}", drop(key), "json-value", f"`{key}`") for key in ("images", "annotations", "categories")),
    Case(8, "no file_name", drop("images.1.file_name"), "json-value", r"images\[1\]"),
    Case(8, "no image_id", drop("annotations.1.image_id"), "json-value", r"annotations\[1\]"),
    Case(8, "no category_id", drop("annotations.1.category_id"), "json-value", r"annotations\[1\]"),
    Case(8, "no class name", drop("categories.1.name"), "json-value", r"categories\[1\]"),
    Case(9, "id true", put("images.1.id", True), "json-value", r"images\[1\].id"),
    Case(9, "id null", put("images.1.id", None), "json-value", r"images\[1\].id"),
    Case(9, "id nested", put("annotations.1.id", [1]), "json-value", r"annotations\[1\].id"),
    Case(9, "image_id an object", put("annotations.1.image_id", {"a": 1}), "json-value"),
    Case(9, "id 1.5", put("images.1.id", 1.5), "id-not-whole", r"images\[1\].*1\.5"),
    Case(10, "image id twice", put("images.3.id", 2), "picture-id-repeated", r"images\[3\].*images\[1\]"),
    Case(11, "box id twice, other image", put("annotations.5.id", 1), "box-id-repeated", r"\[5\].*\[0\]"),
    Case(13, "boxes of no image", put("annotations.0.image_id", 99), "too-many-bad", "box-unknown-picture"),
    Case(14, "boxes of no class", put("annotations.0.category_id", 99), "too-many-bad", r"99.*known are 1, 7"),
    Case(16, "class name twice", put("categories.1.name", "cat"), "class-repeated", "class 1.*'cat'"),
    Case(16, "class name twice but for blanks", put("categories.1.name", " cat "), "class-repeated"),
    Case(16, "class name empty", put("categories.1.name", ""), "class-empty", "class 1"),
    Case(16, "class name blank", put("categories.1.name", "  "), "class-empty"),
    Case(16, "class id twice", put("categories.1.id", 1), "class-id-repeated", r"categories\[1\]"),
    Case(
        17,
        "classes of another data set",
        put("categories.0.name", "bird"),
        "classes-differ",
        "2 of 4 boxes match the class list; the file has cat, dog, train has bird, dog",
    ),
    Case(18, "zero width", box(5, 4, 0, 8), "too-many-bad", r"\[5, 4, 0, 8\].*box-zero-area"),
    Case(19, "negative height", box(5, 4, 10, -8), "too-many-bad", "box-negative"),
    Case(21, "1e9", box(5, 4, 1e9, 8), "too-many-bad", "box-absurd"),
    Case(21, "1e300", box(5, 4, 1e300, 1e300), "too-many-bad", "box-absurd"),
    Case(23, "wholly outside", box(70, 4, 10, 8), "too-many-bad", "box-outside"),
    Case(23, "wholly outside on the left", box(-20, 4, 10, 8), "too-many-bad", "box-outside"),
    Case(
        24,
        "xyxy",
        every_box(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]),
        "box-convention",
        r"looks like xyxy: 100% of boxes would fit as xyxy, \d\d% as xywh",
    ),
    Case(
        24,
        "centres",
        every_box(lambda b: [b[0] + b[2] / 2, b[1] + b[3] / 2, b[2], b[3]]),
        "box-convention",
        "looks like centre xywh",
    ),
    Case(
        24,
        "normalised",
        every_box(lambda b: [b[0] / 60, b[1] / 40, b[2] / 60, b[3] / 40]),
        "box-convention",
        "looks like normalised",
    ),
    Case(
        25,
        "size swapped",
        lambda d, _: d["images"][0].update(width=40, height=60),
        "picture-size-differs",
        r"images\[0\].*says 40 x 60, the file is 60 x 40; width and height are swapped",
    ),
    Case(25, "size wrong", put("images.0.width", 61), "picture-size-differs", "61 x 40"),
    Case(25, "size zero", put("images.0.width", 0), "picture-size-differs", "0 x 40"),
    Case(25, "size of 400 digits", put("images.0.width", int("9" * 400)), "json-value", r"images\[0\].width"),
    Case(26, "width a string", put("images.0.width", "60"), "json-value", r"images\[0\].width"),
    Case(28, "iscrowd true", put("annotations.0.iscrowd", True), "json-value", r"annotations\[0\].iscrowd"),
    Case(28, "iscrowd yes", put("annotations.0.iscrowd", "yes"), "iscrowd-value", "'yes'"),
    Case(28, "iscrowd half", put("annotations.0.iscrowd", 0.5), "iscrowd-value", r"0\.5"),
    Case(30, "three numbers", box(5, 4, 10), "too-many-bad", "bbox has 3 numbers"),
    Case(30, "five numbers", box(5, 4, 10, 8, 1), "too-many-bad", "bbox has 5 numbers"),
    Case(30, "box null", put("annotations.0.bbox", None), "too-many-bad", "bbox has no numbers"),
    Case(30, "no box", drop("annotations.0.bbox"), "too-many-bad", "bbox has no numbers"),
    Case(30, "strings", put("annotations.0.bbox", ["5", "4", "10", "8"]), "json-value", r"\[0\].bbox\[0\]"),
    Case(30, "a null inside", put("annotations.0.bbox", [5, None, 10, 8]), "json-value", r"bbox\[1\]"),
    Case(30, "nested", put("annotations.0.bbox", [[5, 4, 10, 8]]), "json-value"),
    Case(32, "no image has boxes", put("annotations", []), "no-boxes", "none of 4 pictures"),
    Case(32, "only crowds", lambda d, _: [a.update(iscrowd=1) for a in d["annotations"]] and None, "no-boxes"),
    Case(32, "no images", put("images", []), "no-pictures"),
    Case(32, "no classes", put("categories", []), "no-classes"),
    Case(
        34, "pictures missing", file(unlinked), "picture-missing", r"3 of 4 pictures are not in .*: 1\.png, 2\.png, 3"
    ),
    Case(35, "picture of no bytes", file(lambda f: swap_picture(f, b"")), "too-many-bad", "picture-empty"),
    Case(
        35, "a web page", file(lambda f: swap_picture(f, b"<html>404</html>")), "too-many-bad", "looks like a web page"
    ),
    Case(
        36,
        "cut in the header",
        file(lambda f: swap_picture(f, b"\x89PNG\r\n\x1a\n\0\0")),
        "too-many-bad",
        "picture-damaged",
    ),
    Case(39, "animated", file(lambda f: animated(f / "train" / "1.png")), "picture-animated"),
    Case(39, "float", file(lambda f: Image.new("F", (60, 40)).save(f / "train" / "1.png", "TIFF")), "picture-format"),
    Case(41, "a bomb", file(lambda f: bomb(f / "train" / "1.png")), "picture-too-large", "more than 80,000,000 pixels"),
    Case(
        41,
        "a GIF",
        file(lambda f: Image.new("L", (60, 40)).save(f / "train" / "1.png", "GIF")),
        "picture-format",
        "is GIF; only JPEG or PNG",
    ),
    Case(
        41,
        "a BMP",
        file(lambda f: Image.new("L", (60, 40)).save(f / "train" / "1.png", "BMP")),
        "picture-format",
        "or allow this format",
    ),
    Case(44, "out by dots", renamed("../../etc/passwd"), "path-outside", r"images\[0\]"),
    Case(44, "absolute", renamed("/etc/passwd"), "path-absolute", "--allow-outside"),
    Case(44, "a drive", renamed(r"C:\pictures\1.png"), "path-absolute"),
    Case(44, "UNC", renamed(r"\\server\share\1.png"), "path-absolute"),
    Case(44, "dots by backslash", renamed(r"..\..\1.png"), "path-outside"),
    Case(44, "dots by percent", renamed("%2e%2e/%2e%2e/1.png"), "path-outside"),
    Case(44, "NUL", renamed("1.png\0.jpg"), "path-empty"),
    Case(44, "empty", renamed(""), "path-empty"),
    Case(44, "a URL", renamed("https://example.org/1.png"), "path-url"),
    Case(44, "a link that leads out", file(outside_link), "path-outside"),
    Case(45, "a directory for a picture", file(lambda f: replace_by(f, Path.mkdir)), "file-not-regular"),
    Case(45, "a fifo for a picture", file(lambda f: replace_by(f, os.mkfifo)), "file-not-regular"),
    Case(
        45,
        "a dangling link for a picture",
        file(lambda f: replace_by(f, lambda p: p.symlink_to("gone"))),
        "file-missing",
    ),
    Case(47, "a name too long", renamed("x" * 300 + ".png"), "picture-missing"),
    Case(48, "other case", renamed("1.PNG"), "path-case", "did you mean '1.png'"),
    Case(49, "listed twice", renamed("2.png"), "picture-listed-twice", r"images\[1\].*images\[0\]"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.row}-{c.name}".replace(" ", "-"))
def test_a_malformed_folder_is_refused(case: Case, coco: Any, snapshot: Any) -> None:
    folder = coco(case.change)
    before = snapshot(folder)
    begun = time.perf_counter()
    with pytest.raises(DataError, match=re.escape(f"[{case.code}]")) as caught:
        open_data(folder)
    assert time.perf_counter() - begun < 1
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert str(folder) in message
    assert re.search(case.match, message), message
    assert caught.value.code == case.code
    assert snapshot(folder) == before


@pytest.mark.parametrize("seed", range(150))
def test_mutated_files_are_read_or_refused(seed: int, coco: Any) -> None:
    """Damage at random places of the text gives a data set that adds up, or a DataError."""
    rng = random.Random(seed)
    scraps = [b"[", b"{", b'"', b",", b"NaN", b"1e999", b"-", b"9" * 400, b"true", b"null", b"\xff", b'"id":1,', b"0.5"]

    def damage(document: Document, _: Path) -> bytes:
        text = bytearray(json.dumps(document).encode())
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            text[at : at + rng.choice((0, 1, 1, 12))] = rng.choice([*scraps, bytes([rng.randrange(256)]), b""])
        return bytes(text)

    with contextlib.suppress(DataError):
        data = open_data(coco(damage), max_bad=1.0)
        counts = data.reports[0].per_class.values()
        assert all(c.read == c.used + c.ignored + c.quarantined for c in counts)
        assert sum(c.used + c.ignored for c in counts) == len(data.train.boxes)
        assert (data.train.boxes[:, 2:] > data.train.boxes[:, :2]).all()
