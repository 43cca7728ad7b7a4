"""COCO: one JSON file per split, boxes as x, y, width, height from 0; also Roboflow's layout of it."""

import re
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np

from spnas.data import coco_columns as columns
from spnas.data.bdd_labels import is_bdd
from spnas.data.coco_boxes import KEYS, gather, note_unclear, settle_ids
from spnas.data.coco_columns import Annotation, Category, Document, Image
from spnas.data.json_list import records_in
from spnas.data.paths import resolve_inside
from spnas.data.raw import UNKNOWN, RawData, Spot
from spnas.data.records import NOT_A_TARGET, Annotations, DataReport
from spnas.data.repeats import refuse_top_repeats
from spnas.data.source import SourceText, decode_json, first_bytes, note_mark, read_source
from spnas.errors import DataError, escape, utf8
from spnas.shelf import nearest

T = TypeVar("T")
LAYOUT = (
    "COCO: annotations/instances_train*.json and instances_val*.json, or train.json and val.json, "
    "or train/_annotations.coco.json and valid/_annotations.coco.json, or one .json file"
)
NAMED = re.compile(r"(?:instances_)?(train|val|valid|validation)(\d{4})?\.json", re.IGNORECASE)
ROBOFLOW = "_annotations.coco.json"
TRAIN, VAL = ("train",), ("val", "valid", "validation")
EXPECTED = "an object with images, annotations, categories"


def recognise(path: Path) -> bool:
    """Tell whether `path` is a JSON file of the right kind, or a folder that holds COCO files where they belong."""
    if path.is_dir():
        return bool(_sources(path))
    return path.suffix.lower() == ".json" and not is_bdd(first_bytes(path))


def usual_split(path: Path, role: Literal["train", "val"]) -> str | None:
    """Return the name of the only file for this role, None when there is none.

    Raises: DataError when several files could be meant.
    """
    if not path.is_dir():
        return path.name if role == "train" else None
    stems = TRAIN if role == "train" else VAL
    found = [(n, f) for n, f in _sources(path) if re.sub(r"\d+$", "", n) in stems]
    if len(found) > 1:
        names = ", ".join(escape(str(f.relative_to(path))) for _, f in found)
        raise DataError(
            escape(str(path)),
            "",
            "splits-ambiguous",
            f"several files could be {role}: {names}",
            f"choose one with --{role}",
        )
    return found[0][0] if found else None


def read(path: Path, *, split: str) -> RawData:
    """Translate one COCO file.

    Raises: DataError where it is not COCO.
    """
    file, stem = _find(path, split)
    source = read_source(file)
    document = decode_json(source, Document, expected=EXPECTED)
    report = DataReport(source=str(file), format="coco")
    note_mark(source, report)
    lists = {"images": document.images, "annotations": document.annotations, "categories": document.categories}
    refuse_top_repeats(source, lists)
    images = _all(source, document.images, Image, where="images", keys=("id", "file_name", "width", "height"))
    categories = _all(source, document.categories, Category, where="categories", keys=("id", "name"))
    image_ids = columns.ids([i.id for i in images], file, where="images", report=report)
    category_ids = columns.ids([c.id for c in categories], file, where="categories", report=report)
    columns.refuse_doubles(image_ids, file, where="images", code="picture-id-repeated")
    columns.refuse_doubles(category_ids, file, where="categories", code="class-id-repeated")
    files = [i.file_name for i in images]

    def picture_spot(row: int) -> Spot:
        return Spot(str(file), f"images[{row}] ({files[row]})")

    def box_spot(row: int) -> Spot:
        owner = int(boxes.owner[row])
        named = f" (image {files[owner]})" if owner != UNKNOWN else ""
        return Spot(str(file), f"annotations[{row}]{named}")

    boxes = gather(
        records_in(source, document.annotations, Annotation, where="annotations", keys=KEYS, expected=EXPECTED),
        file,
        picture_of={key: row for row, key in enumerate(image_ids)},
        class_of={key: row for row, key in enumerate(category_ids)},
    )
    note_unclear(boxes, report, box_spot=box_spot)
    return RawData(
        source=file,
        split=split,
        format="coco",
        roots=_roots(path, file, stem=stem),
        report=report,
        classes=tuple(c.name for c in categories),
        category_ids=tuple(category_ids),
        files=files,
        image_ids=image_ids,
        stated=columns.stated(images),
        owner=boxes.owner,
        numbers=boxes.numbers,
        convention="xywh",
        labels=boxes.labels,
        flags=boxes.flags,
        areas=boxes.areas,
        box_ids=settle_ids(boxes, file, report=report),
        strangers=boxes.strangers,
        rejections=boxes.rejections,
        picture_spot=picture_spot,
        box_spot=box_spot,
    )


def _all(source: SourceText, raw: msgspec.Raw, kind: type[T], *, where: str, keys: tuple[str, ...]) -> list[T]:
    pieces = records_in(source, raw, kind, where=where, keys=keys, expected=EXPECTED)
    return [record for _, records in pieces for record in records]


def write_ground_truth(annotations: Annotations) -> bytes:
    """Return the annotations as a COCO file: ids of pictures and classes as they were, boxes numbered from 1.

    Ignore regions of every kind become `iscrowd`, which is all that COCO knows of them.
    """
    known = annotations
    sides = known.boxes[:, 2:] - known.boxes[:, :2]
    bboxes = np.concatenate((known.boxes[:, :2], sides), axis=1).tolist()
    owner = np.repeat(np.arange(len(known)), np.diff(known.first)).tolist()
    crowd = ((known.flags & NOT_A_TARGET) != 0).astype(int).tolist()
    labels, areas = known.labels.tolist(), known.areas.tolist()
    document = {
        "images": [
            {"id": key, "file_name": utf8(name), "width": int(w), "height": int(h)}
            for key, name, (w, h) in zip(known.image_ids, known.files, known.sizes.tolist(), strict=True)
        ],
        "annotations": [
            {
                "id": row + 1,  # evaluators take an id of 0 for "no match"
                "image_id": known.image_ids[owner[row]],
                "category_id": known.category_ids[labels[row]],
                "bbox": bboxes[row],
                "area": areas[row],
                "iscrowd": crowd[row],
            }
            for row in range(len(bboxes))
        ],
        "categories": [{"id": key, "name": name} for key, name in zip(known.category_ids, known.classes, strict=True)],
    }
    return msgspec.json.encode(document)


def _sources(path: Path) -> list[tuple[str, Path]]:
    """Return (split name, file) of every COCO file that lies where one is looked for."""
    found = []
    for folder in (path / "annotations", path):
        if folder.is_dir():
            for file in sorted(folder.iterdir()):
                named = NAMED.fullmatch(file.name)
                if named:
                    found.append((named[1].lower() + (named[2] or ""), file))
    for name in (*TRAIN, *VAL):
        if (path / name / ROBOFLOW).exists():
            found.append((name, path / name / ROBOFLOW))
    return found


def _find(path: Path, split: str) -> tuple[Path, str]:
    """Return the file of a split, and the name its folder of pictures probably has."""
    if not path.is_dir():
        file = path if split == path.name else resolve_inside(path.parent, split)
        return file, re.sub("^instances_", "", file.stem)
    sources = _sources(path)
    for name, file in sources:
        if split in (name, str(file.relative_to(path))):
            return file, name
    file = resolve_inside(path, split)
    if not file.is_file():
        raise DataError(
            escape(str(path)),
            "",
            "splits-unknown",
            f"there is no split {escape(split)!r}",
            nearest(split, [name for name, _ in sources]) if sources else "name a .json file",
        )
    return file, re.sub("^instances_", "", file.stem)


def _roots(path: Path, file: Path, *, stem: str) -> tuple[Path, ...]:
    """Return the folders in which the pictures of `file` may lie."""
    top = path if path.is_dir() else file.parent.parent if file.parent.name == "annotations" else file.parent
    plain = re.sub(r"\d+$", "", stem)
    names = dict.fromkeys((stem, f"images/{stem}", plain, f"images/{plain}", "images", "."))
    beside = (file.parent,) if file.name == ROBOFLOW else ()
    return (*beside, *(top / name for name in names), file.parent)
