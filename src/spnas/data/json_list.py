"""A long JSON list read piece by piece: its bytes are there, its records never all at once."""

import re
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TypeVar

import msgspec
from msgspec import UNSET

from spnas.data.repeats import refuse_repeats_in
from spnas.data.source import SourceText, place_of, syntax_error, value_error

T = TypeVar("T")
PIECE = 4 << 20
TRIES = 32  # ends of records tried, the last one first, before a piece is taken twice as large
BETWEEN = re.compile(rb"\s*,\s*(?=\{)")


def records_in(
    source: SourceText, raw: msgspec.Raw, kind: type[T], *, where: str, keys: Sequence[str], expected: str
) -> Iterator[tuple[int, list[T]]]:
    """Yield (index of the first, records) of the list `raw`, which is the value of `where` in the file.

    A piece is cut behind a bracket that may end a record; that it decodes proves that it does, because JSON is
    read from the left in one way only.

    Args: keys: those that no record may repeat.
    Raises: DataError with the JSON path, or naming a key that stands twice in a record.
    """
    view = memoryview(raw)
    if bytes(view[:1]) != b"[":
        try:
            msgspec.json.decode(raw, type=list[kind])  # type: ignore[valid-type]
        except msgspec.ValidationError as error:
            raise value_error(source, error, expected=expected, where=where) from None
    decoder = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
    start, first, size = 1, 0, PIECE
    while start < len(view):
        piece = bytes(view[start : start + size])
        whole = start + size >= len(view)
        place = place_of(source, raw) + start if whole else 0
        found = _decode(source, decoder, piece, whole=whole, where=where, first=first, expected=expected, place=place)
        if found is None:
            size *= 2
            continue
        records, used = found
        text = piece[:used]
        held = {key: len(records) - list(map(attrgetter(key), records)).count(UNSET) for key in keys}
        refuse_repeats_in(source, text, held=held, where=where, first=first)
        yield first, records
        start, first, size = start + used, first + len(records), PIECE


def _decode(
    source: SourceText,
    decoder: msgspec.json.Decoder[list[T]],
    piece: bytes,
    *,
    whole: bool,
    where: str,
    first: int,
    expected: str,
    place: int,
) -> tuple[list[T], int] | None:
    """Return the records that `piece` begins with and how many bytes they take, None when it is too short.

    Args: place: where in the file the last piece begins; what is wrong is said of that one.
    """
    try:
        if whole:
            return decoder.decode(b"[" + piece), len(piece)
        end = len(piece)
        for _ in range(TRIES):
            end = piece.rfind(b"}", 0, end)
            between = BETWEEN.match(piece, end + 1)
            if end < 0:
                return None
            if between is not None:
                try:
                    return decoder.decode(b"[" + piece[: end + 1] + b"]"), between.end()
                except msgspec.ValidationError:
                    raise
                except msgspec.DecodeError:
                    continue  # the bracket belongs to something inside
    except msgspec.ValidationError as error:
        raise value_error(source, error, expected=expected, where=where, first=first) from None
    except msgspec.DecodeError as error:
        raise syntax_error(source, error, before=place - 1) from None
    return None
