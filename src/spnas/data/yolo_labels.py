"""Rows of a YOLO label file: a class number, then centre, width and height as shares of the picture."""

import re
from pathlib import Path

import msgspec
import numpy as np

from spnas.data.raw import UNKNOWN, Rejection
from spnas.data.source import SourceText
from spnas.errors import DataError, escape

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf|infinity)", re.ASCII | re.IGNORECASE)
SLACK = 0.01  # shares beyond 1 by less are rounding; the boxes are clipped
LONGEST_ROW = 1 << 20  # characters; a polygon of 50,000 corners has as many
Four = tuple[float, float, float, float]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line; `numbers` is None and `rejection` says why, when it is no box."""

    line: int
    label: int
    called: str
    numbers: Four | None = None
    rejection: Rejection | None = None
    polygon: bool = False


def parse_rows(source: SourceText, *, classes: int) -> list[Row]:
    """Return the rows that are not blank.

    Raises: DataError when the file holds what no text file does.
    """
    if b"\0" in source.data:
        where = f"byte {source.data.index(0)}"
        raise DataError(escape(str(source.path)), where, "file-encoding", "holds a NUL", "restore the file")
    lines = source.data.decode("utf-8").split("\n")  # splitlines would also break at form feeds
    return [_parse(line, number, classes) for number, line in enumerate(lines, start=1) if line.strip()]


def _parse(line: str, number: int, classes: int) -> Row:
    words = line.split() if len(line) <= LONGEST_ROW else [""]
    if len(words) < 5 and "," in line:
        return _bad(number, "yolo-commas", "commas stand between the numbers", "separate them by blanks")
    label, called = _class_of(words[0], classes)
    values = [float(w) if NUMBER.fullmatch(w) else None for w in words[1:]]
    polygon = len(values) >= 6 and len(values) % 2 == 0
    if len(values) != 4 and not polygon:
        reason = f"has {len(words)} columns; a box has 5, a polygon 7, 9, 11 and so on"
        return _bad(number, "yolo-columns", reason, "write class, centre x, centre y, width, height", label, called)
    numbers = [v for v in values if v is not None]
    if len(numbers) < len(values):
        return _bad(number, "box-not-four-numbers", "holds a word that is no number", "mend or drop it", label, called)
    if label == UNKNOWN and not re.fullmatch(r"class [+-]?\d+", called):
        return _bad(number, "yolo-class", f"{called} is no whole number", "number the classes from 0", label, called)
    box = _around(numbers) if polygon else (numbers[0], numbers[1], numbers[2], numbers[3])
    if np.isfinite(box).all() and max(numbers) > 1 + SLACK:
        reason = f"{max(numbers):g} is no share of the picture"
        hint = "divide by its width and height"
        return _bad(number, "yolo-not-a-share", reason, hint, label, called)
    return Row(line=number, label=label, called=called, numbers=box, polygon=polygon)


def _class_of(word: str, classes: int) -> tuple[int, str]:
    """Return the class, or UNKNOWN, and what it is called in messages; 3.0 is a 3."""
    called = f"class {escape(word)[:40]}"
    if not NUMBER.fullmatch(word):
        return UNKNOWN, called
    value = float(word)
    if not np.isfinite(value) or value % 1 or abs(value) > 1e9:
        return UNKNOWN, called
    return (int(value), called) if 0 <= value < classes else (UNKNOWN, f"class {int(value)}")


def _around(numbers: list[float]) -> Four:
    """Return centre, width and height of the corners' box; NaN and infinity stay what they are."""
    corners = np.array(numbers).reshape(-1, 2)
    if not np.isfinite(corners).all():
        return (np.nan, np.nan, np.nan, np.nan)
    low, high = corners.min(axis=0), corners.max(axis=0)
    (x, y), (w, h) = (low + high) / 2, high - low
    return (float(x), float(y), float(w), float(h))


def _bad(line: int, code: str, reason: str, hint: str, label: int = UNKNOWN, called: str = "class unread") -> Row:
    return Row(line=line, label=label, called=called, rejection=Rejection(code, reason, hint))


def label_path(picture: Path) -> Path:
    """Return where a picture's labels are: labels/ for the last images/ of its path, else beside it."""
    parts = list(picture.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")
