"""What every data format reads into, and what was counted on the way."""

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.exif import turn_each

CROWD, DIFFICULT, IGNORED, OCCLUDED, TRUNCATED = 1, 2, 4, 8, 16
NOT_A_TARGET = CROWD | DIFFICULT | IGNORED  # neither hit nor miss: ignored in training and evaluation
SITTING_LYING, BEHIND_GLASS, DEPICTION, OTHER_TAG = 1, 2, 4, 8  # bits of Details.tags
NO_PARENT = -1


class Details(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What a data set says of a box beyond class and flags, for the metrics of its own benchmark.

    Shapes, with M boxes in the rows of `Annotations`:
      identity: M names, the class as the source wrote it, before it was matched to `classes` or ignored
        (ECP: person-group-far-away, bicycle, ...; BDD: other vehicle, ...)
      occlusion, truncation (M,) float64: the share that is at least hidden or cut off: ECP's 0, .1, .4 or .8
        (from tags such as occluded>40); NaN where the source only has flags
      tags (M,) uint8: any of SITTING_LYING, BEHIND_GLASS, DEPICTION, OTHER_TAG
      parent (M,) int64: the row of the rider that this box is the vehicle of, NO_PARENT (-1) for all others

    Which of them count is a benchmark's rule: `flags` say only what training may learn from.
    """

    identity: tuple[str, ...]
    occlusion: NDArray[np.float64]
    truncation: NDArray[np.float64]
    tags: NDArray[np.uint8]
    parent: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "Details":
        """Return the details of these rows, in this order; a parent that is not among them becomes NO_PARENT."""
        place = np.full(len(self.parent) + 1, NO_PARENT, np.int64)  # the last one answers for NO_PARENT
        place[rows] = np.arange(len(rows))
        return Details(
            identity=tuple(self.identity[i] for i in rows),
            occlusion=self.occlusion[rows],
            truncation=self.truncation[rows],
            tags=self.tags[rows],
            parent=place[self.parent[rows]],
        )


class Annotations(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Boxes of a set of pictures, in arrays so that loader workers share them.

    Shapes, with N pictures and M boxes:
      sizes (N, 2) int32: width, height as displayed (after EXIF orientation)
      first (N + 1,) int64: the boxes of picture i are rows first[i]:first[i + 1]
      boxes (M, 4) float64: x1, y1, x2, y2 in pixels of the displayed picture, clipped to it
      labels (M,) int64: index into `classes`
      flags (M,) uint8: any of CROWD, DIFFICULT, IGNORED, OCCLUDED, TRUNCATED
      areas (M,) float64: the area the data set states (COCO: of the segmentation), else of the box
      details: per box, for formats whose benchmarks need more (ECP, BDD); None for the others
      turns (N,) uint8: the EXIF orientation by which boxes that belonged to the stored picture were turned, 1 where
        they were not; None where none was
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
    details: Details | None = None
    turns: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def targets(self) -> NDArray[np.bool_]:
        """Tell which boxes (M,) are to be found, and are no ignore regions."""
        return np.asarray((self.flags & NOT_A_TARGET) == 0)

    def path(self, index: int) -> Path:
        """Return where picture `index` lies."""
        return self.root / self.files[index]

    def rows(self, index: int) -> slice:
        """Return the rows of `boxes`, `labels`, `flags` and `areas` that belong to picture `index`."""
        return slice(int(self.first[index]), int(self.first[index + 1]))

    def turned(
        self, boxes: NDArray[np.float64], image_index: NDArray[np.int64], *, back: bool = False
    ) -> NDArray[np.float64]:
        """Return `boxes` (K, 4) of pictures (K,), written as the user's data are, as displayed; or those `back`."""
        if self.turns is None:
            return boxes
        return turn_each(boxes, self.turns[image_index], sizes=self.sizes[image_index].astype(np.float64), back=back)

    def select(self, indices: NDArray[np.int64], *, name: str) -> "Annotations":
        """Return the annotations of these pictures only, in this order; none may be there twice."""
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
            details=None if self.details is None else self.details.take(take),
            turns=None if self.turns is None else self.turns[indices],
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
