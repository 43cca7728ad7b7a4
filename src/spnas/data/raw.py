"""What a format reader hands over: an annotation source translated, and not yet believed."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.records import DataReport, Details

Convention = Literal["xywh", "xyxy", "voc", "yolo"]
UNKNOWN = -1


class Spot(NamedTuple):
    """A record's file, and its place in there."""

    file: str
    where: str


class Rejection(NamedTuple):
    """Why a reader already knows that a box cannot be used."""

    code: str
    reason: str
    hint: str


class RawData(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One annotation source in columns, with N pictures and M boxes.

    Shapes:
      stated (N, 2) float64: width and height as the source says, NaN where it does not
      owner (M,) int64: the picture a box belongs to, UNKNOWN (-1) when it names none of them
      numbers (M, 4) float64: as written, by `convention`
      labels (M,) int64: index into `classes`, UNKNOWN when it is none of them
      flags (M,) uint8: as in `Annotations`
      areas (M,) float64: as stated, NaN where not; None when the format has no areas

    Boxes of the convention "yolo" are centre, width and height as shares of the picture.
    `states_sizes` is False for formats that never do; where all pictures of a benchmark have one size, `assumed`
    is what counts when they are not there.
    `roots` are the folders in which the pictures may lie; the one that has them is chosen.
    `videos` names the recording of every picture, "" where it is not known; None when the format never says.
    `strangers` says what a box of an unknown class called it; `rejections` belong to rows.
    """

    source: Path
    split: str
    format: str
    roots: tuple[Path, ...]
    report: DataReport
    classes: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    files: list[str]
    image_ids: list[int | str]
    stated: NDArray[np.float64]
    owner: NDArray[np.int64]
    numbers: NDArray[np.float64]
    convention: Convention
    labels: NDArray[np.int64]
    flags: NDArray[np.uint8]
    areas: NDArray[np.float64] | None
    box_ids: list[int | str]
    strangers: dict[int, str]
    rejections: dict[int, Rejection]
    picture_spot: Callable[[int], Spot]
    box_spot: Callable[[int], Spot]
    details: Details | None = None
    states_sizes: bool = True
    assumed: tuple[int, int] | None = None
    videos: list[str] | None = None
