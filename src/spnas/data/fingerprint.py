"""One hash over all that a study learns from and is judged on: when it changes, the study is another one."""

import hashlib

import numpy as np

from spnas.data.checks import Checked


def fingerprint(*parts: Checked) -> str:
    """Return the SHA-256 over classes, file names, picture sizes and bytes, boxes, labels and flags.

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
            add(np.ascontiguousarray(column).astype(column.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()
