"""Small data sets that the tests write for themselves, and damage."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file below `folder` with its time of change and its bytes."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, tuple[int, bytes]]]:
    return contents
