"""COCO: one JSON file per split, boxes as x, y, width, height from 0; also Roboflow's layout of it."""

import re
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec import UNSET

from spnas.data import coco_columns as columns
from spnas.data.coco_columns import Document, Id
from spnas.data.paths import resolve_inside
from spnas.data.raw import UNKNOWN, RawData, Spot
from spnas.data.records import NOT_A_TARGET, Annotations, DataReport
from spnas.data.repeats import refuse_repeats
from spnas.data.source import SourceText, decode_json, first_bytes, note_mark, read_source
from spnas.errors import DataError, escape
from spnas.shelf import nearest

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
    _check_repeats(source, document)
    image_ids = columns.ids([i.id for i in document.images], file, where="images", report=report)
    category_ids = columns.ids([c.id for c in document.categories], file, where="categories", report=report)
    columns.refuse_doubles(image_ids, file, where="images", code="picture-id-repeated")
    columns.refuse_doubles(category_ids, file, where="categories", code="class-id-repeated")
    annotations = document.annotations
    files = [i.file_name for i in document.images]

    def picture_spot(row: int) -> Spot:
        return Spot(str(file), f"images[{row}] ({files[row]})")

    def box_spot(row: int) -> Spot:
        owner = int(owners[row])
        named = f" (image {files[owner]})" if owner != UNKNOWN else ""
        return Spot(str(file), f"annotations[{row}]{named}")

    picture_of: dict[Id, int] = {key: row for row, key in enumerate(image_ids)}
    class_of: dict[Id, int] = {key: row for row, key in enumerate(category_ids)}
    count = len(annotations)
    owners = np.fromiter((picture_of.get(a.image_id, UNKNOWN) for a in annotations), np.int64, count)
    labels = np.fromiter((class_of.get(a.category_id, UNKNOWN) for a in annotations), np.int64, count)
    numbers, rejections = columns.numbers(annotations)
    return RawData(
        source=file,
        split=split,
        format="coco",
        roots=_roots(path, file, stem=stem),
        report=report,
        classes=tuple(c.name for c in document.categories),
        category_ids=tuple(category_ids),
        files=files,
        image_ids=image_ids,
        stated=columns.stated(document.images),
        owner=owners,
        numbers=numbers,
        convention="xywh",
        labels=labels,
        flags=columns.flags(annotations, file, report=report, box_spot=box_spot),
        areas=np.array([a.area if isinstance(a.area, float | int) else np.nan for a in annotations], float),
        box_ids=columns.box_ids(annotations, file, owners=owners, report=report),
        strangers={int(r): f"category {annotations[r].category_id!r}" for r in np.flatnonzero(labels == UNKNOWN)},
        rejections=rejections,
        picture_spot=picture_spot,
        box_spot=box_spot,
    )


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
            {"id": key, "file_name": _utf8(name), "width": int(w), "height": int(h)}
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


def _utf8(name: str) -> str:
    """Return a name that JSON can hold: bytes that are not UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


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


def _check_repeats(source: SourceText, document: Document) -> None:
    """Count the keys that the records hold, and refuse a file in which one of them stands more often."""
    images, annotations, categories = document.images, document.annotations, document.categories
    held = {"images": 1, "annotations": 1, "categories": 1}
    held |= {"file_name": len(images), "name": len(categories)}
    held |= {"image_id": len(annotations), "category_id": len(annotations)}
    for key in ("width", "height"):
        held[key] = sum(getattr(i, key) is not UNSET for i in images)
    for key in ("id", "bbox", "area", "iscrowd", "ignore"):
        held[key] = sum(getattr(a, key) is not UNSET for a in annotations)
    held["id"] += len(images) + len(categories)
    aside = bytes(document.info) + bytes(document.licenses)
    held = {key: count + aside.count(f'"{key}"'.encode()) for key, count in held.items()}
    top = ("images", "annotations", "categories")
    refuse_repeats(source, held=held, top=top, lists=top)
