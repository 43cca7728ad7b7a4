"""The annotations of a COCO file as columns, filled piece by piece."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from spnas.data.coco_columns import Annotation, Id
from spnas.data.raw import UNKNOWN, Rejection, Spot
from spnas.data.records import CROWD, IGNORED, DataReport
from spnas.data.tally import record, record_rows
from spnas.errors import DataError, escape

KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore")


class Boxes(msgspec.Struct, kw_only=True):
    """Columns as in `RawData`; `ids` as written, `unclear` are the rows whose iscrowd says nothing clear."""

    owner: NDArray[np.int64]
    labels: NDArray[np.int64]
    numbers: NDArray[np.float64]
    flags: NDArray[np.uint8]
    areas: NDArray[np.float64]
    ids: list[Id | UnsetType]
    unclear: list[int]
    rejections: dict[int, Rejection]
    strangers: dict[int, str]


def gather(
    pieces: Iterable[tuple[int, list[Annotation]]],
    file: Path,
    *,
    picture_of: Mapping[Id, int],
    class_of: Mapping[Id, int],
) -> Boxes:
    """Turn pieces of a list of annotations into columns.

    Raises: DataError for an iscrowd that cannot be meant.
    """
    parts: dict[str, list[NDArray[np.generic]]] = {n: [] for n in ("owner", "labels", "numbers", "flags", "areas")}
    ids: list[Id | UnsetType] = []
    unclear: list[int] = []
    rejections: dict[int, Rejection] = {}
    strangers: dict[int, str] = {}
    for first, records in pieces:
        ids += [a.id for a in records]
        parts["owner"].append(np.array([picture_of.get(a.image_id, UNKNOWN) for a in records], np.int64))
        labels = np.array([class_of.get(a.category_id, UNKNOWN) for a in records], np.int64)
        parts["labels"].append(labels)
        for row in np.flatnonzero(labels == UNKNOWN).tolist():
            strangers[first + row] = f"category {records[row].category_id!r}"
        parts["numbers"].append(_numbers(records, first, rejections=rejections))
        parts["flags"].append(_flags(records, file, first=first, unclear=unclear))
        parts["areas"].append(np.array([a.area if isinstance(a.area, float) else np.nan for a in records], np.float64))
    kinds = {"owner": np.int64, "labels": np.int64, "numbers": np.float64, "flags": np.uint8, "areas": np.float64}
    whole = {name: np.concatenate(part) if part else np.zeros(0, kinds[name]) for name, part in parts.items()}
    whole["numbers"] = whole["numbers"].reshape(-1, 4)
    return Boxes(**whole, ids=ids, unclear=unclear, rejections=rejections, strangers=strangers)


def _numbers(records: list[Annotation], first: int, *, rejections: dict[int, Rejection]) -> NDArray[np.float64]:
    """Return the boxes (M, 4) as written, NaN where there are not four numbers."""
    boxes = [a.bbox for a in records]
    if all(type(box) is list and len(box) == 4 for box in boxes):
        return np.array(boxes, np.float64).reshape(-1, 4)
    whole = []
    for row, box in enumerate(boxes):
        if isinstance(box, list) and len(box) == 4:
            whole.append(box)
        else:
            reason = f"bbox has {len(box) if box else 'no'} numbers"
            rejections[first + row] = Rejection("box-not-four-numbers", reason, "mend or drop it")
            whole.append([np.nan] * 4)
    return np.array(whole, np.float64).reshape(-1, 4)


def _flags(records: list[Annotation], file: Path, *, first: int, unclear: list[int]) -> NDArray[np.uint8]:
    """Return CROWD and IGNORED (M,); an iscrowd that says nothing clear counts as 0 and is added to `unclear`."""
    crowd = [a.iscrowd for a in records]
    flags = np.zeros(len(crowd), np.uint8)
    for row, value in enumerate(crowd if crowd.count(0) < len(crowd) else ()):
        if value == 1 and not isinstance(value, str):
            flags[row] = CROWD
        elif value != 0:
            if (isinstance(value, str) and value != "0") or (isinstance(value, float) and value % 1):
                raise DataError(
                    escape(str(file)),
                    f"annotations[{first + row}].iscrowd",
                    "iscrowd-value",
                    f"iscrowd is {escape(repr(value))}",
                    "write 0 or 1",
                )
            unclear.append(first + row)
    ignore = [a.ignore for a in records]
    if ignore.count(UNSET) < len(ignore):
        flags[np.array([value in (1, True) for value in ignore], bool)] |= IGNORED
    return flags


def note_unclear(boxes: Boxes, report: DataReport, *, box_spot: Callable[[int], Spot]) -> None:
    """Note the boxes whose iscrowd counts as 0 for want of anything better."""
    record_rows(
        report,
        np.array(boxes.unclear, np.int64),
        outcome="noted",
        code="iscrowd-default",
        spot=box_spot,
        reason=lambda _: "has no iscrowd of 0 or 1 and counts as 0",
        hint="nothing needs to be done",
    )


def settle_ids(boxes: Boxes, file: Path, *, report: DataReport) -> list[int | str]:
    """Return the ids as written, row numbers where there are none.

    Raises: DataError when boxes of two pictures share an id; within a picture that is noted.
    """
    ids = boxes.ids
    if all(type(key) is int and -(2**63) <= key < 2**63 for key in ids):
        sorted_ids = np.sort(np.array(ids, np.int64))
        if not (sorted_ids[1:] == sorted_ids[:-1]).any():
            return ids  # type: ignore[return-value]  # all are integers
    first: dict[Id, int] = {}
    for row, key in enumerate(ids):
        other = row if isinstance(key, UnsetType) else first.setdefault(key, row)
        if other == row:
            continue
        spot = Spot(str(file), f"annotations[{row}]")
        if boxes.owner[other] != boxes.owner[row]:
            raise DataError(
                escape(str(file)),
                spot.where,
                "box-id-repeated",
                f"the id {escape(str(key))} is that of annotations[{other}] too, of another picture",
                "give every annotation an id of its own",
            )
        reason = f"shares its id with annotations[{other}]"
        record(report, spot, outcome="noted", code="box-id-shared", reason=reason, hint="nothing needs to be done")
    record_rows(
        report,
        np.array([row for row, key in enumerate(ids) if isinstance(key, UnsetType)], np.int64),
        outcome="noted",
        code="box-ids-missing",
        spot=lambda row: Spot(str(file), f"annotations[{row}]"),
        reason=lambda _: "has no id",
        hint="nothing needs to be done",
    )
    settled = [row if isinstance(key, UnsetType) else key for row, key in enumerate(ids)]
    return [int(key) if isinstance(key, float) else key for key in settled]
