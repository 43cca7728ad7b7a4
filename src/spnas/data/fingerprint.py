"""One hash over all that a study learns from and is judged on: when it changes, the study is another one."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spnas.data.checks import Checked


def _bytes(column: NDArray[Any]) -> bytes:
    """Return a column's bytes, the same on every machine."""
    return np.ascontiguousarray(column).astype(column.dtype.newbyteorder("<")).tobytes()


def fingerprint(*parts: Checked) -> str:
    """Return the SHA-256 over classes, file names, picture sizes and bytes, boxes, labels, flags and details.

    Picture bytes enter whole while a split has up to 2 GiB of them; beyond, by both ends (64 KiB) and the
    size of every picture.
    """
    total = hashlib.sha256()

    def add(data: bytes) -> None:
        total.update(len(data).to_bytes(8, "little") + data)

    for part in parts:
        known = part.annotations
        for names in (known.classes, known.files):
            add("\0".join(names).encode("utf-8", "surrogateescape"))
        add(b"".join(part.digests))
        for column in (known.sizes, known.first, known.boxes, known.labels, known.flags):
            add(_bytes(column))
        if known.details is not None:
            add("\0".join(known.details.identity).encode("utf-8", "surrogateescape"))
            for extra in (known.details.occlusion, known.details.truncation, known.details.tags, known.details.parent):
                add(_bytes(extra))
    return total.hexdigest()
