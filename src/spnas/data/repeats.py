"""Find a key that stands twice in one JSON object: decoders keep one of the two without a word."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spnas.data.source import SourceText
from spnas.errors import DataError, escape

ESCAPE = b"\\u"  # a key may hide behind \\u0069d


def refuse_repeats(source: SourceText, *, held: Mapping[str, int], top: Sequence[str], lists: Sequence[str]) -> None:
    """Refuse a repeated key, of the file's object or of a record in one of `lists`.

    A key that stands in the bytes as often as there are objects that hold it cannot be repeated: one count
    over the file proves it. Records are looked at one by one only where that proof fails.

    Args:
      held: how many objects hold each key, by the decoded records.
      top: the keys of the file's object.
    Raises: DataError naming the key and where it stands.
    """
    data = source.data
    suspects = [key for key, count in held.items() if data.count(_token(key)) > count]
    if not suspects and ESCAPE not in data:
        return
    if any(key in suspects for key in top):
        _check_top(source, top)
    columns = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    tokens = [_token(key) for key in (held if ESCAPE in data else suspects)]  # escapes distort the counts
    for name in lists:
        if name not in columns:
            continue
        for index, raw in enumerate(msgspec.json.decode(columns[name], type=list[msgspec.Raw])):
            text = bytes(raw)
            if ESCAPE in text or any(text.count(token) > 1 for token in tokens):
                key = _repeated(text)
                if key is not None:
                    raise _refusal(source, f"{name}[{index}]", key)


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
