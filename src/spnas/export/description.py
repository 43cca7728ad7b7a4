"""What an ONNX file of ours says about itself, and the seal by which damage is found; no torch, no onnx.

A file is the graph's bytes and behind them one metadata entry, `spnas`: a JSON with the length and the SHA-256 of
what precedes it. Both together are one ONNX model, since messages of that format are joined by writing them one after
the other.
"""

import hashlib
import re
from pathlib import Path
from typing import Literal

import msgspec

from spnas.errors import IntegrityError, UsageError

SCHEMA = 1
KEY = b"spnas"
_ENTRY = b"\x72"  # metadata_props of a model
_MARK = b"\x0a" + bytes([len(KEY)]) + KEY + b"\x12"  # of an entry, its key, and that its value follows
_LENGTH = re.compile(rb"[\x80-\xff]*[\x00-\x7f]")
LARGEST = 2**31 - 1  # bytes of an ONNX file without files beside it
Precision = Literal["fp32", "fp16", "int8"]


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is needed to give pictures to the graph, and to read its answers.

    short, long: bounds of a picture's sides in pixels, whichever is met first; `short` may be None.
    height, width: of the input, which is zero where there is no picture; multiples of 32.
    mean, std: of RGB in 0..1.
    category_ids: the ids the data gave the classes. producer: the version of spnas.
    """

    schema: int = SCHEMA
    producer: str
    detector: str
    arch: str
    classes: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    short: int | None
    long: int
    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    score_threshold: float
    nms_threshold: float
    most_detections: int
    precision: Precision = "fp32"
    graph_bytes: int = 0
    graph_sha256: str = ""

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height after resizing: as in training, or smaller where that would not fit the input."""
        grow = self.long / max(width, height)
        if self.short is not None:
            grow = min(grow, self.short / min(width, height))
        wide, high = max(1, round(width * grow)), max(1, round(height * grow))
        if wide <= self.width and high <= self.height:
            return wide, high
        grow = min(self.width / width, self.height / height)
        return max(1, int(width * grow)), max(1, int(height * grow))


def seal(graph: bytes, description: Description) -> bytes:
    """Return the file: the graph with its description."""
    stamped = msgspec.structs.replace(
        description, graph_bytes=len(graph), graph_sha256=hashlib.sha256(graph).hexdigest()
    )
    return graph + _entry(msgspec.json.encode(stamped))


def read_sealed(path: Path) -> tuple[bytes, Description]:
    """Return the bytes of a file and what it says about itself, before anything else looks into it.

    Raises: UsageError when it is not there or not ours; IntegrityError when it is not as it was written.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path}: larger than an ONNX file can be; give one that spnas export wrote")
        data = path.read_bytes()
    except OSError as fault:
        raise UsageError(f"{path}: cannot be read ({fault.strerror}); give a file that spnas export wrote") from None
    return data, unseal(data, name=str(path))


def unseal(data: bytes, *, name: str) -> Description:
    """Return what a whole file says about itself. Raises: as `read_sealed`."""
    place = data.rfind(_MARK)
    length = _LENGTH.match(data, place + len(_MARK))
    if place < 0 or length is None:
        raise UsageError(f"{name}: not an ONNX file of ours; write one with: spnas export MODEL --to onnx")
    text = data[length.end() :]
    try:
        description = msgspec.json.decode(text, type=Description)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise IntegrityError(f"{name}: its description cannot be read ({fault}); export it again") from None
    if description.schema > SCHEMA:
        raise UsageError(
            f"{name}: written by a newer spnas (schema {description.schema}); this one reads up to {SCHEMA}"
        )
    graph = data[: description.graph_bytes]
    if hashlib.sha256(graph).hexdigest() != description.graph_sha256 or graph + _entry(text) != data:
        raise IntegrityError(f"{name}: its SHA-256 is not the one written; the file was changed or damaged")
    return description


def _entry(text: bytes) -> bytes:
    """Write one metadata entry of a model."""
    entry = _MARK + _length(len(text)) + text
    return _ENTRY + _length(len(entry)) + entry


def _length(count: int) -> bytes:
    """Write a length as that format does: seven bits a byte, the lowest first."""
    written = bytearray()
    while count > 127:
        written.append(count & 127 | 128)
        count >>= 7
    return bytes((*written, count))
