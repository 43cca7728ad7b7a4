"""Pictures of one class each, for training a backbone as a classifier: whole files, or parts of them."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.records import DataReport


class Labelled(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """N pictures, or parts of pictures, with a class each.

    Shapes:
      files: N names below `root`; several parts may come from one file
      sizes (N, 2) int32: width and height of the file's picture as displayed
      labels (N,) int64: index into `classes`
      cuts (N, 4) int64: x1, y1, x2, y2 in pixels of the displayed picture, which a part may reach beyond; None where
        pictures are taken whole
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    sizes: NDArray[np.int32]
    labels: NDArray[np.int64]
    cuts: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many there are of every class (C,)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    def path(self, index: int) -> Path:
        """Return where the file of picture `index` lies."""
        return self.root / self.files[index]

    def select(self, indices: NDArray[np.int64], *, name: str) -> "Labelled":
        """Return these pictures only, in this order."""
        return msgspec.structs.replace(
            self,
            name=name,
            files=tuple(self.files[i] for i in indices),
            sizes=self.sizes[indices],
            labels=self.labels[indices],
            cuts=None if self.cuts is None else self.cuts[indices],
        )


class LabelledSet(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What a classifier learns from and is judged on; no file is in both.

    reports: what was found in the files; notes: what else a user should be told, a sentence each.
    """

    train: Labelled
    val: Labelled
    reports: tuple[DataReport, ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: str


def fingerprint_of(contents: str, *parts: Labelled) -> str:
    """Return the SHA-256 over classes, file names, sizes, labels and cuts; `contents` stands for the files' bytes."""
    total = hashlib.sha256(contents.encode())

    def add(data: bytes) -> None:
        total.update(len(data).to_bytes(8, "little") + data)

    for part in parts:
        for names in (part.classes, part.files):
            add("\0".join(names).encode("utf-8", "surrogateescape"))
        for column in (part.sizes, part.labels, part.cuts):
            add(b"" if column is None else column.astype(column.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()
