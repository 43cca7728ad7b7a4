"""COCO: one JSON file per split, boxes as x, y, width, height from 0; also Roboflow's layout of it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from spnas.data.paths import resolve_inside
from spnas.data.raw import UNKNOWN, RawData, Rejection, Spot
from spnas.data.records import CROWD, IGNORED, NOT_A_TARGET, Annotations, DataReport
from spnas.data.repeats import refuse_repeats
from spnas.data.source import SourceText, decode_json, read_source
from spnas.data.tally import record, record_rows
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

Id = int | float | str


class Image(msgspec.Struct, gc=False):
    """One picture's record."""

    id: Id
    file_name: str
    width: int | float | UnsetType | None = UNSET
    height: int | float | UnsetType | None = UNSET


class Annotation(msgspec.Struct, gc=False):
    """One box's record; segmentations are skipped, never decoded."""

    image_id: Id
    category_id: Id
    id: Id | UnsetType = UNSET
    bbox: list[float] | UnsetType | None = UNSET
    area: float | UnsetType | None = UNSET
    iscrowd: int | float | str | UnsetType | None = UNSET
    ignore: int | float | bool | UnsetType | None = UNSET


class Category(msgspec.Struct, gc=False):
    """One class."""

    id: Id
    name: str


class Document(msgspec.Struct):
    """The whole file; `info` and `licenses` are only counted."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]
    info: msgspec.Raw = msgspec.Raw(b"")
    licenses: msgspec.Raw = msgspec.Raw(b"")


def recognise(path: Path) -> bool:
    """Tell whether `path` is a JSON file, or a folder that holds COCO files where they belong."""
    return bool(_sources(path)) if path.is_dir() else path.suffix.lower() == ".json"


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
    if source.had_mark:
        record(report, "noted", "byte-order-mark", Spot(str(file), ""), "begins with one", "nothing to do")
    _check_repeats(source, document)
    image_ids = _ids([i.id for i in document.images], "images", file, report)
    category_ids = _ids([c.id for c in document.categories], "categories", file, report)
    _refuse_doubles(image_ids, "images", "picture-id-repeated", file)
    _refuse_doubles(category_ids, "categories", "class-id-repeated", file)
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
    numbers, rejections = _numbers(annotations)
    return RawData(
        source=file,
        split=split,
        format="coco",
        roots=_roots(path, file, stem),
        report=report,
        classes=tuple(c.name for c in document.categories),
        category_ids=tuple(category_ids),
        files=files,
        image_ids=image_ids,
        stated=_stated(document.images),
        owner=owners,
        numbers=numbers,
        convention="xywh",
        labels=labels,
        flags=_flags(annotations, file, report, box_spot),
        areas=np.array([a.area if isinstance(a.area, float | int) else np.nan for a in annotations], float),
        box_ids=_box_ids(annotations, owners, file, report),
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
            {"id": key, "file_name": name, "width": int(w), "height": int(h)}
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


def _roots(path: Path, file: Path, stem: str) -> tuple[Path, ...]:
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


def _ids(written: list[Id], where: str, file: Path, report: DataReport) -> list[int | str]:
    """Return ids as integers or strings; whole floats and strings are noted."""
    ids: list[int | str] = []
    odd = ""
    for row, key in enumerate(written):
        if isinstance(key, float):
            if not key.is_integer():
                raise DataError(
                    escape(str(file)),
                    f"{where}[{row}].id",
                    "id-not-whole",
                    f"the id {key!r} is not whole",
                    "number the records",
                )
            key, odd = int(key), "floats"
        elif isinstance(key, str):
            odd = "strings"
        ids.append(key)
    if odd:
        spot = Spot(str(file), where)
        record(report, "noted", "ids-not-integers", spot, f"ids are {odd}", "nothing needs to be done")
    return ids


def _refuse_doubles(ids: list[int | str], where: str, code: str, file: Path) -> None:
    """Refuse an id that two records share."""
    if len(set(ids)) == len(ids):
        return
    first: dict[int | str, int] = {}
    for row, key in enumerate(ids):
        if key in first:
            raise DataError(
                escape(str(file)),
                f"{where}[{row}]",
                code,
                f"the id {escape(str(key))} is that of {where}[{first[key]}] too",
                "give every record an id of its own",
            )
        first[key] = row


def _stated(images: list[Image]) -> NDArray[np.float64]:
    """Return stated widths and heights (N, 2), NaN where there are none."""
    stated = np.full((len(images), 2), np.nan)
    for row, image in enumerate(images):
        if isinstance(image.width, int | float) and isinstance(image.height, int | float):
            stated[row] = image.width, image.height
    return stated


def _numbers(annotations: list[Annotation]) -> tuple[NDArray[np.float64], dict[int, Rejection]]:
    """Return the boxes (M, 4) as written, and why some rows have none."""
    boxes = [a.bbox for a in annotations]
    rejections = {
        row: Rejection("box-not-four-numbers", f"bbox has {len(box) if box else 'no'} numbers", "mend or drop it")
        for row, box in enumerate(boxes)
        if not isinstance(box, list) or len(box) != 4
    }
    whole = [[np.nan] * 4 if row in rejections else box for row, box in enumerate(boxes)]
    return np.array(whole, np.float64).reshape(-1, 4), rejections


def _flags(
    annotations: list[Annotation], file: Path, report: DataReport, box_spot: Callable[[int], Spot]
) -> NDArray[np.uint8]:
    """Return CROWD and IGNORED (M,); an iscrowd that says nothing clear counts as 0."""
    crowd = [a.iscrowd for a in annotations]
    flags = np.zeros(len(crowd), np.uint8)
    unclear = []
    for row, value in enumerate(crowd):
        if value == 1 and not isinstance(value, str):
            flags[row] = CROWD
        elif value != 0:
            if (isinstance(value, str) and value != "0") or (isinstance(value, float) and value % 1):
                raise DataError(
                    escape(str(file)),
                    f"annotations[{row}].iscrowd",
                    "iscrowd-value",
                    f"iscrowd is {escape(repr(value))}",
                    "write 0 or 1",
                )
            unclear.append(row)
    record_rows(
        report,
        "noted",
        "iscrowd-default",
        np.array(unclear, np.int64),
        spot=box_spot,
        reason=lambda _: "has no iscrowd of 0 or 1 and counts as 0",
        hint="nothing needs to be done",
    )
    flags[np.array([a.ignore in (1, True) for a in annotations], bool)] |= IGNORED
    return flags


def _box_ids(
    annotations: list[Annotation], owners: NDArray[np.int64], file: Path, report: DataReport
) -> list[int | str]:
    """Return the ids as written; repeated ones are noted, and refused when they are of two pictures."""
    ids = [row if isinstance(a.id, UnsetType) else a.id for row, a in enumerate(annotations)]
    if len(set(ids)) < len(ids):
        first: dict[Id, int] = {}
        for row, key in enumerate(ids):
            other = first.setdefault(key, row)
            if other == row:
                continue
            spot = Spot(str(file), f"annotations[{row}]")
            if owners[other] != owners[row]:
                raise DataError(
                    escape(str(file)),
                    spot.where,
                    "box-id-repeated",
                    f"the id {escape(str(key))} is that of annotations[{other}] too, of another picture",
                    "give every annotation an id of its own",
                )
            record(report, "noted", "box-id-shared", spot, f"shares its id with annotations[{other}]", "none")
    return [int(key) if isinstance(key, float) else key for key in ids]
