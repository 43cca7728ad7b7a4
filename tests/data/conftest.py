"""Small data sets that the tests write for themselves, and damage."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spnas.data.open import open_data
from spnas.data.records import Annotations, DataReport, DataSet
from spnas.errors import DataError

WIDTH, HEIGHT = 60, 40
Document = dict[str, Any]


def write_picture(path: Path, *, width: int = WIDTH, height: int = HEIGHT, seed: int = 0, **save: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path, **save)


def coco_document(pictures: int, first: int = 1) -> Document:
    """Every picture has a cat and a dog: 10 x 8 at (5, 4) and 20 x 12 at (30, 20)."""
    ids = range(first, first + pictures)
    boxes = [(1, [5, 4, 10, 8]), (7, [30, 20, 20, 12])]
    annotations = [
        {"image_id": i, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i in ids
        for c, box in boxes
    ]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in ids],
        "annotations": [{"id": n + 1, **a} for n, a in enumerate(annotations)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
    }


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a COCO folder of 4 and 2 pictures, its training file changed by `change`.

    `change(document, folder)` may alter the document, or return the bytes to write instead.
    """

    def build(change: Callable[[Document, Path], bytes | None] | None = None) -> Path:
        folder = tmp_path / "data"
        for split, count, first in (("train", 4, 1), ("val", 2, 11)):
            document = coco_document(count, first)
            for image in document["images"]:
                write_picture(folder / split / image["file_name"], seed=image["id"])
            text = None
            if split == "train" and change is not None:
                text = change(document, folder)
            (folder / "annotations").mkdir(exist_ok=True)
            target = folder / "annotations" / f"instances_{split}.json"
            if not target.exists() and not target.is_symlink():
                target.write_bytes(json.dumps(document).encode() if text is None else text)
        return folder

    return build


def voc_object(name: str = "cat", box: tuple[float | str, ...] = (6, 5, 15, 12), extra: str = "") -> str:
    tags = "".join(f"<{t}>{v}</{t}>\n" for t, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=False))
    return f"<object>\n<name>{name}</name>\n{extra}<bndbox>\n{tags}</bndbox>\n</object>\n"


def voc_text(stem: str, objects: str, *, size: tuple[int, int] | None = (WIDTH, HEIGHT)) -> str:
    sizes = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height></size>\n"
    return f"<annotation>\n<filename>{stem}.png</filename>\n{sizes}{objects}</annotation>\n"


@pytest.fixture
def voc(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a VOC folder: train p0..p3, val p4..p5, a cat and a dog in each.

    `objects` or `text` replace what is in p1.xml, `change(folder)` may do anything afterwards.
    """

    def build(
        *, objects: str | None = None, text: str | bytes | None = None, change: Callable[[Path], Any] | None = None
    ) -> Path:
        folder = tmp_path / "data"
        both = voc_object() + voc_object("dog", (31, 21, 50, 32))
        for index in range(6):
            stem = f"p{index}"
            write_picture(folder / "JPEGImages" / f"{stem}.png", seed=index)
            written: str | bytes = voc_text(stem, both)
            if index == 1:
                written = text if text is not None else voc_text(stem, both if objects is None else objects)
            target = folder / "Annotations" / f"{stem}.xml"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(written.encode() if isinstance(written, str) else written)
        lists = folder / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("p0\np1\np2\np3\n")
        (lists / "val.txt").write_text("p4\np5\n")
        if change is not None:
            change(folder)
        return folder

    return build


def bdd_document(pictures: int, first: int = 1) -> list[dict[str, Any]]:
    """Every picture has a car and a bus, in the places of `coco_document`'s cat and dog."""
    boxes = [("car", (5, 4, 15, 12)), ("bus", (30, 20, 50, 32))]
    return [
        {
            "name": f"{i}.png",
            "labels": [
                {"id": f"{i}-{n}", "category": name, "box2d": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))}
                for n, (name, box) in enumerate(boxes)
            ],
        }
        for i in range(first, first + pictures)
    ]


@pytest.fixture
def bdd(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a BDD100K folder (2020) as `coco` does; `change` likewise."""

    def build(change: Callable[[Any, Path], bytes | None] | None = None) -> Path:
        folder = tmp_path / "data"
        for split, count, first in (("train", 4, 1), ("val", 2, 11)):
            document = bdd_document(count, first)
            for frame in document:
                write_picture(folder / "images" / "100k" / split / frame["name"], seed=int(frame["name"][:-4]))
            text = None
            if split == "train" and change is not None:
                text = change(document, folder)
            target = folder / "labels" / "det_20" / f"det_{split}.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() and not target.is_symlink():
                target.write_bytes(json.dumps(document).encode() if text is None else text)
        return folder

    return build


def ecp_node(identity: str = "pedestrian", box: tuple[float, ...] = (5, 4, 15, 12), **more: Any) -> dict[str, Any]:
    corners = dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
    return {"identity": identity, **corners, "tags": [], "children": [], **more}


def ecp_frame(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"identity": "frame", "imagewidth": WIDTH, "imageheight": HEIGHT, "tags": [], "children": list(nodes)}


@pytest.fixture
def ecp(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an ECP folder: 4 and 2 pictures, each with a pedestrian and a rider.

    `change(frame, folder)` may alter the frame of train/Köln/Köln_1, or return the bytes to write instead.
    """

    def build(change: Callable[[Any, Path], bytes | None] | None = None) -> Path:
        folder = tmp_path / "data"
        places = [("train", "Köln"), ("train", "Köln"), ("train", "lyon"), ("train", "lyon")]
        for number, (split, city) in enumerate([*places, ("val", "rome"), ("val", "rome")], start=1):
            stem = f"{city}_{number}"
            write_picture(folder / "img" / split / city / f"{stem}.png", seed=number)
            frame = ecp_frame(ecp_node(), ecp_node("rider", (30, 20, 50, 32)))
            text = change(frame, folder) if number == 1 and change is not None else None
            target = folder / "labels" / split / city / f"{stem}.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() and not target.is_symlink():
                target.write_bytes(json.dumps(frame).encode() if text is None else text)
        return folder

    return build


YOLO_CAT, YOLO_DOG = "0 0.16666667 0.2 0.16666667 0.2", "1 0.66666667 0.65 0.33333333 0.3"
YOLO_YAML = "path: .\ntrain: images/train\nval: images/val\nnc: 2\nnames: [cat, dog]\n"


@pytest.fixture
def yolo(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a YOLO folder of 4 and 2 pictures, a cat and a dog in each.

    `text` replaces train/1.txt, `yaml` data.yaml; `change(folder)` may do anything afterwards.
    """

    def build(
        *, text: str | bytes | None = None, yaml: str | bytes = YOLO_YAML, change: Callable[[Path], Any] | None = None
    ) -> Path:
        folder = tmp_path / "data"
        for split, numbers in (("train", range(1, 5)), ("val", range(11, 13))):
            for number in numbers:
                write_picture(folder / "images" / split / f"{number}.png", seed=number)
                written: str | bytes = f"{YOLO_CAT}\n{YOLO_DOG}\n"
                if number == 1 and text is not None:
                    written = text
                target = folder / "labels" / split / f"{number}.txt"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(written.encode() if isinstance(written, str) else written)
        (folder / "data.yaml").write_bytes(yaml.encode() if isinstance(yaml, str) else yaml)
        if change is not None:
            change(folder)
        return folder

    return build


def check_refused(folder: Path, code: str, match: str = "") -> None:
    """One line that names the file, within half a second, and nothing of the data is touched."""
    before = contents(folder)
    begun = time.process_time()
    with pytest.raises(DataError, match=re.escape(f"[{code}]")) as caught:
        open_data(folder)
    assert time.process_time() - begun < 0.5
    message = str(caught.value)
    assert message.isprintable()
    assert str(folder) in message
    assert re.search(match, message), message
    assert caught.value.code == code
    assert contents(folder) == before


def check_conserved(data: DataSet) -> None:
    """No box is lost from the count, and those that are left can be trained on."""
    for report, part in ((data.reports[0], data.train), (data.reports[-1], data.val)):
        check_part_conserved(report, part, whole=len(data.reports) == 2)


def check_part_conserved(report: DataReport, part: Annotations, *, whole: bool) -> None:
    """The same for one split; `whole`: the report is about nothing else."""
    counts = report.per_class.values()
    assert all(c.read == c.used + c.ignored + c.quarantined for c in counts)
    if whole:
        assert sum(c.used + c.ignored for c in counts) == len(part.boxes)
    assert np.isfinite(part.boxes).all()
    assert (part.boxes[:, 2:] > part.boxes[:, :2]).all()
    assert (part.boxes >= 0).all()
    assert (part.boxes <= np.repeat(np.tile(part.sizes, 2), np.diff(part.first), axis=0)).all()
    assert ((part.labels >= 0) & (part.labels < len(part.classes))).all()


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file below `folder` with its time of change and its bytes."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, tuple[int, bytes]]]:
    return contents
