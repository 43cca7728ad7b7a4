"""Detections as a file: COCO's results form, with the ids of the user's data, written and read."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from spnas.data.records import Annotations
from spnas.data.source import SourceText, decode_json, read_source
from spnas.errors import DataError, escape
from spnas.evaluate.detect import Found
from spnas.evaluate.frames import box_fault, is_frames, read_frames

Id = int | float | str
EXPECTED = "a list of objects, each with image_id, category_id, bbox of four numbers, and score"


class Row(msgspec.Struct, gc=False):
    """One detection; `bbox` is x, y, width, height in pixels."""

    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]
    score: float


def write_results(annotations: Annotations, found: Found) -> bytes:
    """Return the JSON; boxes are x, y, width, height in pixels, rounded to a thousandth, scores to six digits.

    They lie on the picture that the data's own boxes lie on: the displayed one, or the stored one.
    """
    boxes = annotations.turned(found.boxes, found.image_index, back=True)
    rows = zip(found.image_index.tolist(), found.labels.tolist(), boxes.tolist(), found.scores.tolist(), strict=True)
    return msgspec.json.encode(
        [
            {
                "image_id": annotations.image_ids[image],
                "category_id": annotations.category_ids[label],
                "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(score, 6),
            }
            for image, label, (x1, y1, x2, y2), score in rows
        ]
    )


def read_results(path: Path, annotations: Annotations) -> Found:
    """Read detections of these pictures: COCO's results, or BDD100K's frames.

    Raises: DataError naming the record, when it is of no picture or class of the data, or holds what is no number.
    """
    source = read_source(path)
    if is_frames(source):
        return read_frames(source, annotations)
    rows = _decode(source)
    shown = escape(str(path))
    pictures, labels = _places(annotations.image_ids), _places(annotations.category_ids)
    boxes = np.array([row.bbox for row in rows], np.float64).reshape(-1, 4)
    scores = np.array([row.score for row in rows], np.float64)
    image_index = np.array([pictures.get(row.image_id, -1) for row in rows], np.int64)
    label = np.array([labels.get(row.category_id, -1) for row in rows], np.int64)
    for n in np.flatnonzero(image_index < 0)[:1]:
        unknown = rows[n].image_id
        reason = f"image_id {unknown!r} is none of the {len(annotations):,} pictures of {escape(annotations.name)}"
        hint = f"{_kind_hint(unknown, annotations.image_ids)}give the data and split that was looked at"
        raise DataError(shown, f"[{n}]", "result-unknown-picture", escape(reason), escape(hint))
    for n in np.flatnonzero(label < 0)[:1]:
        reason = f"category_id {rows[n].category_id!r} is no category of the data"
        named = ", ".join(f"{i} {c}" for i, c in zip(annotations.category_ids[:20], annotations.classes, strict=False))
        raise DataError(shown, _where(n, rows[n]), "result-unknown-class", escape(reason), escape(f"known: {named}"))
    with np.errstate(over="ignore"):
        corners = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1)
    for n, box in enumerate(corners.tolist()):
        if fault := box_fault(box):
            raise DataError(shown, _where(n, rows[n]), *fault, "write x, y, width, height")
    shown_boxes = annotations.turned(corners, image_index)
    return Found(image_index=image_index, boxes=shown_boxes, scores=scores, labels=label).in_order()


def _decode(source: SourceText) -> list[Row]:
    """Decode the rows; a NaN, which is no JSON but is written by Python, is blamed on its row."""
    try:
        return decode_json(source, list[Row], expected=EXPECTED)
    except DataError:
        if b"NaN" not in source.data and b"Infinity" not in source.data:
            raise
        try:
            rows = msgspec.convert(json.loads(source.data), list[Row])
        except (ValueError, RecursionError):
            rows = []
        for n, row in enumerate(rows):
            if not np.isfinite((*row.bbox, row.score)).all():
                reason = f"box {list(row.bbox)} with score {row.score} is not finite"
                shown = escape(str(source.path))
                raise DataError(shown, _where(n, row), "result-not-finite", reason, "drop it or mend it") from None
        raise


def _places(ids: Sequence[int | str]) -> dict[Id, int]:
    """Return where each id stands; 7.0 finds 7."""
    return {known: index for index, known in enumerate(ids)}


def _kind_hint(unknown: Id, known: tuple[int | str, ...]) -> str:
    """Say how the data writes its ids, if in another way."""
    names = [k for k in known if isinstance(k, str)]
    if isinstance(unknown, str) and names:
        close = difflib.get_close_matches(unknown, names, n=1) if len(names) < 1000 else []
        return f"did you mean {close[0]!r}? " if close else f"ids of the data look like {names[0]!r}; "
    if isinstance(unknown, str) != bool(names) and known:
        return f"ids of the data look like {known[0]!r}; "
    return ""


def _where(n: int, row: Row) -> str:
    return f"[{n}] (image {escape(str(row.image_id))})"
