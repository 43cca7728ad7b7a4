"""What was found in one picture."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, overload

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spnas.data.pictures import read_picture
from spnas.errors import UsageError, escape
from spnas.report import draw_boxes

SHOWN = 6  # detections that `repr` names


class Detection(NamedTuple):
    """One object: its box (x1, y1, x2, y2) in pixels of the original picture, and what it is."""

    box: tuple[float, float, float, float]
    score: float
    label: int
    name: str


class Detections(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """K objects found in one picture, best first.

    Shapes: boxes (K, 4) xyxy in pixels of the original picture as displayed, scores (K,), labels (K,) index `classes`.
    `size` is width and height; `path` is None where the picture came as pixels, which are kept to draw on.
    `category_ids` are those of the data that the model learned from, a class each.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    size: tuple[int, int]
    path: str | None = None
    pixels: NDArray[np.uint8] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The K names of what was found."""
        return tuple(self.classes[label] for label in self.labels.tolist())

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        return (self[row] for row in range(len(self)))

    @overload
    def __getitem__(self, rows: int) -> Detection: ...
    @overload
    def __getitem__(self, rows: slice | list[int] | NDArray[Any]) -> "Detections": ...
    def __getitem__(self, rows: int | slice | list[int] | NDArray[Any]) -> "Detection | Detections":
        """Return one `Detection`, or those of a slice, a mask (K,) or a list of rows."""
        if isinstance(rows, int | np.integer):
            label = int(self.labels[rows])
            x1, y1, x2, y2 = self.boxes[rows].tolist()
            return Detection((x1, y1, x2, y2), float(self.scores[rows]), label, self.classes[label])
        if isinstance(rows, list):
            rows = np.asarray(rows, np.bool_ if rows and isinstance(rows[0], bool) else np.int64)
        return msgspec.structs.replace(self, boxes=self.boxes[rows], scores=self.scores[rows], labels=self.labels[rows])

    def above(self, score: float) -> "Detections":
        """Return those of at least this score."""
        return self[self.scores >= score]

    def plot(self, *, scale: int = 1) -> Image.Image:
        """Return the picture, enlarged `scale` times, with all of these drawn on it.

        Raises: DataError when the file is gone or cannot be read any more.
        """
        pixels = self.pixels
        if pixels is None:
            assert self.path is not None
            pixels = read_picture(Path(self.path))
        scores = self.scores.tolist()
        drawn = draw_boxes(pixels, self.boxes, labels=self.names, scores=scores, classes=self.classes, scale=scale)
        return Image.fromarray(drawn)

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """Return rows of COCO's results: boxes x, y, width, height rounded to a thousandth, scores to six digits."""
        rows = zip(self.labels.tolist(), self.boxes.tolist(), self.scores.tolist(), strict=True)
        return [
            {
                "image_id": image_id,
                "category_id": self.category_ids[label],
                "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(score, 6),
            }
            for label, (x1, y1, x2, y2), score in rows
        ]

    def to_supervision(self) -> Any:
        """Return a `supervision.Detections`, with names in its data as `class_name`.

        Raises: UsageError when that package is not installed.
        """
        try:
            supervision = importlib.import_module("supervision")
        except ImportError:
            raise UsageError("to_supervision needs a package that is not here: pip install supervision") from None
        return supervision.Detections(
            xyxy=self.boxes.astype(np.float32),
            confidence=self.scores.astype(np.float32),
            class_id=self.labels.astype(int),
            data={"class_name": np.array(self.names, dtype=np.str_)},
        )

    def __repr__(self) -> str:
        where = f"{escape(self.path) if self.path is not None else 'a picture'} ({self.size[0]} x {self.size[1]})"
        count = f"{len(self)} detection{'' if len(self) == 1 else 's'}"
        shown = ", ".join(f"{escape(one.name)} {one.score:.2f}" for one in self[:SHOWN])
        more = f", and {len(self) - SHOWN} more" if len(self) > SHOWN else ""
        return f"<{count} in {where}{': ' if shown else ''}{shown}{more}>"
