"""Find a key that stands twice in one JSON object: decoders keep one of the two without a word."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spnas.data.source import SourceText, place_of
from spnas.errors import DataError, escape

ESCAPE = b"\\u"  # a key may hide behind \\u0069d


def refuse_top_repeats(source: SourceText, values: Mapping[str, msgspec.Raw]) -> None:
    """Refuse a key that stands twice in the file's object.

    Of two values the decoder keeps the last one; the other one is what is left of the text without those kept.

    Args: values: the values of the keys that matter, as decoded from `source`.
    Raises: DataError naming the key.
    """
    rest, end = b"", 0
    for start, raw in sorted((place_of(source, raw), raw) for raw in values.values()):
        rest += source.data[end:start]
        end = start + len(memoryview(raw))
    rest += source.data[end:]
    if ESCAPE in rest or any(rest.count(_token(key)) > 1 for key in values):
        _check_top(source, tuple(values))


def refuse_repeats_in(source: SourceText, text: bytes, *, held: Mapping[str, int], where: str, first: int) -> None:
    """Refuse a key that stands twice in a record of `text`, records with commas between.

    A key that stands in the bytes as often as there are records that hold it cannot be repeated: counts prove
    it, and they are taken where numbers have gone, which can only add to them. Records are looked at one by one
    only where that proof fails.

    Args:
      held: how many records hold each key, as decoded.
      where, first: the list in the file that they are of, and the index of the first one.
    Raises: DataError naming the key and where it stands.
    """
    slim = text.translate(None, b"0123456789.,- []\n\r\t")
    suspects = [key for key, count in held.items() if slim.count(_token(key)) > count]
    if not suspects and ESCAPE not in slim:
        return
    tokens = [_token(key) for key in (held if ESCAPE in slim else suspects)]  # escapes distort the counts
    text = text.rstrip().rstrip(b",").rstrip()
    listed = b"[" + text + (b"" if text.endswith(b"]") else b"]")
    for index, raw in enumerate(msgspec.json.decode(listed, type=list[msgspec.Raw])):
        record = bytes(raw)
        if ESCAPE in record or any(record.count(token) > 1 for token in tokens):
            key = _repeated(record)
            if key is not None:
                raise _refusal(source, f"{where}[{first + index}]", key)


def refuse_twins(source: SourceText, held: Mapping[str, int]) -> None:
    """Refuse a key that stands twice in any object of a file of nested records; counts prove most files innocent.

    Args: held: how many objects hold each key, by the decoded records.
    Raises: DataError naming the key and, in a list, the record.
    """
    data = source.data
    if ESCAPE not in data and all(data.count(_token(key)) <= count for key, count in held.items()):
        return
    listed = data.lstrip().startswith(b"[")
    parts = msgspec.json.decode(data, type=list[msgspec.Raw]) if listed else [msgspec.Raw(data)]
    for index, part in enumerate(parts):
        where = f"[{index}]" if listed else ""

        def check(pairs: list[tuple[str, Any]], where: str = where) -> None:
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen and key in held:
                    raise _refusal(source, where, key)
                seen.add(key)

        json.loads(bytes(part), object_pairs_hook=check, parse_int=len, parse_float=len)


def _check_top(source: SourceText, top: Sequence[str]) -> None:
    """Refuse a key that is left over once the values that the decoder kept are taken away."""
    columns = msgspec.json.decode(source.data, type=dict[str, msgspec.Raw])
    values = [bytes(raw) for raw in columns.values()]
    for key in top:
        token = _token(key)
        if source.data.count(token) - sum(value.count(token) for value in values) > 1:
            raise _refusal(source, "", key)


def _repeated(text: bytes) -> str | None:
    """Return a key that stands twice in this object itself (not in one inside it)."""
    outermost: list[list[tuple[str, Any]]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        outermost[:] = [pairs]  # the last object to be closed is the record

    json.loads(text, object_pairs_hook=keep, parse_int=len, parse_float=len)
    seen: set[str] = set()
    for key, _ in outermost[0] if outermost else []:
        if key in seen:
            return key
        seen.add(key)
    return None


def _token(key: str) -> bytes:
    return b'"' + key.encode() + b'"'


def _refusal(source: SourceText, where: str, key: str) -> DataError:
    return DataError(
        escape(str(source.path)),
        where,
        "json-repeated-key",
        f"the key {escape(key)!r} stands twice in one object",
        "keep one of the two",
    )
