"""Annotation files as bytes: read whole, known to be UTF-8, and decoded as JSON that repeats no key."""

import codecs
import os
import re
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from spnas.data.paths import open_regular
from spnas.data.raw import Spot
from spnas.data.records import DataReport
from spnas.data.tally import record
from spnas.errors import DataError, escape

T = TypeVar("T")
CHUNK = 1 << 20
DEEPEST = 64  # nesting no annotation file needs; only used to say where it went too deep


class SourceText(msgspec.Struct, frozen=True):
    """The bytes of one annotation file, without a byte order mark."""

    path: Path
    data: bytes
    had_mark: bool


def read_source(path: Path, *, most_bytes: int | None = None) -> SourceText:
    """Read an annotation file whole.

    Raises: DataError when it is missing, no regular file, empty, too large, or not UTF-8.
    """
    shown = escape(str(path))
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if most_bytes is not None and size > most_bytes:
            raise DataError(
                shown,
                "",
                "file-too-large",
                f"has {size:,} bytes; at most {most_bytes:,} are read",
                "check that it is the right file",
            )
        data = file.read()
    had_mark = data.startswith(codecs.BOM_UTF8)
    if had_mark:
        data = data[len(codecs.BOM_UTF8) :]
    if not data.strip():
        raise DataError(shown, "", "file-empty", "the file is empty", "restore it from its source")
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in data[:4]:
        raise DataError(shown, "", "file-encoding", "is UTF-16 or UTF-32", "save it as UTF-8")
    _check_utf8(shown, data)
    return SourceText(path, data, had_mark)


def first_bytes(path: Path, count: int = 4096) -> bytes:
    """Return how a file begins, to tell what it is; nothing when it is no file that can be read."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return file.read(count).removeprefix(codecs.BOM_UTF8).lstrip()
    except (DataError, OSError):
        return b""


def note_mark(source: SourceText, report: DataReport) -> None:
    """Note a byte order mark, which is accepted."""
    if source.had_mark:
        spot = Spot(str(source.path), "the first bytes")
        reason, hint = "begins with a byte order mark", "nothing needs to be done"
        record(report, spot, outcome="noted", code="byte-order-mark", reason=reason, hint=hint)


def decode_json(source: SourceText, kind: type[T], *, expected: str) -> T:
    """Decode strictly (no NaN, no overflow, nothing behind the end) into typed records.

    Args: expected: what the file should hold, for the message.
    Raises: DataError with the JSON path, or with line, column and byte offset.
    """
    try:
        return msgspec.json.decode(source.data, type=kind)
    except msgspec.ValidationError as error:
        raise value_error(source, error, expected=expected) from None
    except msgspec.DecodeError as error:
        raise syntax_error(source, error) from None
    except RecursionError:
        raise _syntax(source, _too_deep(source.data), "json-too-deep", "nested too deeply") from None


def place_of(source: SourceText, raw: msgspec.Raw) -> int:
    """Return where in the file a value begins; what is decoded as raw lies in the file's own bytes."""
    start = np.frombuffer(source.data, np.uint8).ctypes.data
    place = int(np.frombuffer(memoryview(raw), np.uint8).ctypes.data) - int(start)
    return place if 0 <= place < len(source.data) else source.data.find(bytes(raw))


def value_error(
    source: SourceText, error: msgspec.ValidationError, *, expected: str, where: str = "", first: int = 0
) -> DataError:
    """Name the value that is of the wrong kind; `first` is the index, in the list `where`, of what was decoded."""
    reason, _, path = str(error).partition(" - at ")
    path = path.strip("`").removeprefix("$").lstrip(".")
    if where:
        path = where + re.sub(r"^\[(\d+)\]", lambda found: f"[{int(found[1]) + first}]", path)
    hint = f"expected {expected}; mend this value"
    return DataError(escape(str(source.path)), escape(path), "json-value", escape(reason), hint)


def syntax_error(source: SourceText, error: msgspec.DecodeError, *, before: int = 0) -> DataError:
    """Say where the text is wrong; what was decoded began `before` bytes behind the beginning of the file."""
    text = str(error)
    found = re.search(r"\(byte (\d+)\)", text)
    offset = int(found[1]) + before if found else len(source.data)
    if "trailing" in text:
        offset -= 1  # here alone it has read past the character it complains about
    return _syntax(source, offset, "json-syntax", re.sub(r" \(byte \d+\)", "", text))


def _syntax(source: SourceText, offset: int, code: str, reason: str) -> DataError:
    """Place an error in the text the way an editor counts."""
    line = source.data.count(b"\n", 0, offset) + 1
    column = offset - source.data.rfind(b"\n", 0, offset)
    return DataError(
        escape(str(source.path)),
        f"line {line}:{column} (byte {offset})",
        code,
        reason,
        "restore the file, or write it again with a JSON library",
    )


def _check_utf8(shown: str, data: bytes) -> None:
    """Raise DataError at the first byte that is not UTF-8."""
    if data.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), CHUNK):
        try:
            decoder.decode(data[start : start + CHUNK], final=start + CHUNK >= len(data))
        except UnicodeDecodeError as error:
            raise DataError(
                shown,
                f"near byte {start + error.start}",
                "file-encoding",
                f"is not UTF-8 ({error.reason})",
                "save it as UTF-8",
            ) from None


def _too_deep(data: bytes) -> int:
    """Return about where brackets nest deeper than DEEPEST (brackets inside strings count too)."""
    depth = 0
    for found in re.finditer(rb"[\[\]{}]", data):
        depth += 1 if found[0] in b"[{" else -1
        if depth > DEEPEST:
            return found.start()
    return len(data)
