"""What every data format reads into, and what was counted on the way."""

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

CROWD, DIFFICULT, IGNORED, OCCLUDED, TRUNCATED = 1, 2, 4, 8, 16
NOT_A_TARGET = CROWD | DIFFICULT | IGNORED  # neither hit nor miss: ignored in training and evaluation


class Annotations(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Boxes of a set of pictures, in arrays so that loader workers share them.

    Shapes, with N pictures and M boxes:
      sizes (N, 2) int32: width, height as displayed (after EXIF orientation)
      first (N + 1,) int64: the boxes of picture i are rows first[i]:first[i + 1]
      boxes (M, 4) float64: x1, y1, x2, y2 in pixels of the displayed picture, clipped to it
      labels (M,) int64: index into `classes`
      flags (M,) uint8: any of CROWD, DIFFICULT, IGNORED, OCCLUDED, TRUNCATED
      areas (M,) float64: the area the data set states (COCO: of the segmentation), else of the box
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    image_ids: tuple[int | str, ...]
    box_ids: tuple[int | str, ...]
    category_ids: tuple[int | str, ...]
    sizes: NDArray[np.int32]
    first: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    flags: NDArray[np.uint8]
    areas: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> Path:
        """Return where picture `index` lies."""
        return self.root / self.files[index]

    def rows(self, index: int) -> slice:
        """Return the rows of `boxes`, `labels`, `flags` and `areas` that belong to picture `index`."""
        return slice(int(self.first[index]), int(self.first[index + 1]))

    def select(self, indices: NDArray[np.int64], *, name: str) -> "Annotations":
        """Return the annotations of these pictures only, in this order."""
        rows = [np.arange(self.first[i], self.first[i + 1]) for i in indices]
        take = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        first = np.zeros(len(indices) + 1, np.int64)
        np.cumsum([len(r) for r in rows], out=first[1:])
        return msgspec.structs.replace(
            self,
            name=name,
            files=tuple(self.files[i] for i in indices),
            image_ids=tuple(self.image_ids[i] for i in indices),
            box_ids=tuple(self.box_ids[i] for i in take),
            sizes=self.sizes[indices],
            first=first,
            boxes=self.boxes[take],
            labels=self.labels[take],
            flags=self.flags[take],
            areas=self.areas[take],
        )


class Finding(msgspec.Struct, frozen=True):
    """One thing noticed in the data: `quarantined` records are not used, `noted` ones are."""

    outcome: Literal["quarantined", "noted"]
    code: str
    file: str
    where: str
    reason: str
    hint: str


class ClassCount(msgspec.Struct, kw_only=True):
    """Boxes of one class in one file; `read = used + ignored + quarantined` always holds."""

    read: int = 0
    used: int = 0
    ignored: int = 0
    quarantined: int = 0


class DataReport(msgspec.Struct, kw_only=True):
    """What was read from one annotation source (a file, or a folder of files)."""

    source: str
    format: str
    images: int = 0
    empty_images: int = 0
    quarantined_images: int = 0
    per_class: dict[str, ClassCount] = {}
    findings: list[Finding] = []  # the first 20 of each code are kept; `counts` has them all
    counts: dict[str, int] = {}  # code -> how many


class DataSet(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A user's data: `train` is what may be learned from, `val` what finalists alone are judged on."""

    format: str
    train: Annotations
    val: Annotations
    reports: tuple[DataReport, ...]
    fingerprint: str  # SHA-256 over classes, file names, picture sizes and bytes, boxes
