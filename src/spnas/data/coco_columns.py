"""The records of a COCO file, and what is made of its pictures and classes."""

from pathlib import Path

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from spnas.data.raw import Spot
from spnas.data.records import DataReport
from spnas.data.tally import record
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
    """The whole file, whose lists are decoded piece by piece."""

    images: msgspec.Raw
    annotations: msgspec.Raw
    categories: msgspec.Raw


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
