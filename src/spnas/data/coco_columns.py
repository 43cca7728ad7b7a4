"""The records of a COCO file, and the columns that are made of them."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from spnas.data.raw import Rejection, Spot
from spnas.data.records import CROWD, IGNORED, DataReport
from spnas.data.tally import record, record_rows
from spnas.errors import DataError, escape

Id = int | float | str


class Image(msgspec.Struct, gc=False):
    """One picture's record."""

    id: Id
    file_name: str
    width: float | UnsetType | None = UNSET
    height: float | UnsetType | None = UNSET


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


def ids(written: list[Id], file: Path, *, where: str, report: DataReport) -> list[int | str]:
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
        record(
            report,
            spot,
            outcome="noted",
            code="ids-not-integers",
            reason=f"ids are {odd}",
            hint="nothing needs to be done",
        )
    return ids


def refuse_doubles(ids: list[int | str], file: Path, *, where: str, code: str) -> None:
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


def stated(images: list[Image]) -> NDArray[np.float64]:
    """Return stated widths and heights (N, 2), NaN where there are none."""
    stated = np.full((len(images), 2), np.nan)
    for row, image in enumerate(images):
        if isinstance(image.width, float) and isinstance(image.height, float):
            stated[row] = image.width, image.height
    return stated


def numbers(annotations: list[Annotation]) -> tuple[NDArray[np.float64], dict[int, Rejection]]:
    """Return the boxes (M, 4) as written, and why some rows have none."""
    boxes = [a.bbox for a in annotations]
    rejections = {
        row: Rejection("box-not-four-numbers", f"bbox has {len(box) if box else 'no'} numbers", "mend or drop it")
        for row, box in enumerate(boxes)
        if not isinstance(box, list) or len(box) != 4
    }
    whole = [[np.nan] * 4 if row in rejections else box for row, box in enumerate(boxes)]
    return np.array(whole, np.float64).reshape(-1, 4), rejections


def flags(
    annotations: list[Annotation], file: Path, *, report: DataReport, box_spot: Callable[[int], Spot]
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
        np.array(unclear, np.int64),
        outcome="noted",
        code="iscrowd-default",
        spot=box_spot,
        reason=lambda _: "has no iscrowd of 0 or 1 and counts as 0",
        hint="nothing needs to be done",
    )
    flags[np.array([a.ignore in (1, True) for a in annotations], bool)] |= IGNORED
    return flags


def box_ids(
    annotations: list[Annotation], file: Path, *, owners: NDArray[np.int64], report: DataReport
) -> list[int | str]:
    """Return the ids as written, row numbers where there are none.

    Raises: DataError when boxes of two pictures share an id; within a picture that is noted.
    """
    stated = [(row, a.id) for row, a in enumerate(annotations) if not isinstance(a.id, UnsetType)]
    if len({key for _, key in stated}) < len(stated):
        first: dict[Id, int] = {}
        for row, key in stated:
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
            reason = f"shares its id with annotations[{other}]"
            record(report, spot, outcome="noted", code="box-id-shared", reason=reason, hint="nothing needs to be done")
    given = {row for row, _ in stated}
    record_rows(
        report,
        np.array([row for row in range(len(annotations)) if row not in given], np.int64),
        outcome="noted",
        code="box-ids-missing",
        spot=lambda row: Spot(str(file), f"annotations[{row}]"),
        reason=lambda _: "has no id",
        hint="nothing needs to be done",
    )
    ids = [row if isinstance(a.id, UnsetType) else a.id for row, a in enumerate(annotations)]
    return [int(key) if isinstance(key, float) else key for key in ids]
