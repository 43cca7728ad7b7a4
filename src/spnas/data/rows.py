"""Pictures and boxes gathered one by one, by readers whose sources are many small files or nested records."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from spnas.data.raw import UNKNOWN, Convention, RawData, Rejection, Spot
from spnas.data.records import NO_PARENT, DataReport, Details

NO_NUMBERS = (np.nan, np.nan, np.nan, np.nan)
UNSTATED = (np.nan, np.nan)
Four = tuple[float, float, float, float]


class Rows(msgspec.Struct, kw_only=True):
    """What has been read of a split so far: `files` to `videos` per picture, the others per box.

    `at` is where a box stands in its picture's record (an index or a line); the reader that wrote it knows
    how to say it. `identity`, `occlusion`, `truncation`, `tags` and `parent` are as in `Details`.
    """

    report: DataReport
    classes: tuple[str, ...]
    files: list[str] = []
    image_ids: list[int | str] = []
    sizes: list[tuple[float, float]] = []
    videos: list[str] = []
    owner: list[int] = []
    numbers: list[Four] = []
    labels: list[int] = []
    flags: list[int] = []
    at: list[int] = []
    identity: list[str] = []
    occlusion: list[float] = []
    truncation: list[float] = []
    tags: list[int] = []
    parent: list[int] = []
    strangers: dict[int, str] = {}
    rejections: dict[int, Rejection] = {}

    def add_picture(
        self, file: str, *, image_id: int | str, size: tuple[float, float] = UNSTATED, video: str = ""
    ) -> None:
        """Begin the next picture; boxes added from here on are its own."""
        self.files.append(file)
        self.image_ids.append(image_id)
        self.sizes.append(size)
        self.videos.append(video)

    def add_box(
        self,
        numbers: Four | None,
        *,
        label: int,
        called: str,
        at: int,
        flags: int = 0,
        occlusion: float = np.nan,
        truncation: float = np.nan,
        tags: int = 0,
        parent: int = NO_PARENT,
        rejection: Rejection | None = None,
    ) -> int:
        """Add a box of the last picture and return its row; `called` is its class as the source wrote it."""
        row = len(self.owner)
        self.owner.append(len(self.files) - 1)
        self.numbers.append(NO_NUMBERS if numbers is None else numbers)
        self.labels.append(label)
        self.flags.append(flags)
        self.at.append(at)
        self.identity.append(called)
        self.occlusion.append(occlusion)
        self.truncation.append(truncation)
        self.tags.append(tags)
        self.parent.append(parent)
        if label == UNKNOWN:
            self.strangers[row] = called
        if rejection is not None:
            self.rejections[row] = rejection
        elif numbers is None:
            self.rejections[row] = Rejection("box-not-four-numbers", "it has not four numbers", "mend or drop it")
        return row

    def finish(
        self,
        source: Path,
        *,
        split: str,
        format: str,
        roots: tuple[Path, ...],
        convention: Convention,
        picture_spot: Callable[[int], Spot],
        box_spot: Callable[[int], Spot],
        detailed: bool = False,
        states_sizes: bool = True,
        assumed: tuple[int, int] | None = None,
        first_id: int = 1,
    ) -> RawData:
        """Put everything into arrays; boxes are numbered from 1, classes from `first_id`."""
        details = Details(
            identity=tuple(self.identity),
            occlusion=np.array(self.occlusion, np.float64),
            truncation=np.array(self.truncation, np.float64),
            tags=np.array(self.tags, np.uint8),
            parent=np.array(self.parent, np.int64),
        )
        return RawData(
            source=source,
            split=split,
            format=format,
            roots=roots,
            report=self.report,
            classes=self.classes,
            category_ids=tuple(range(first_id, first_id + len(self.classes))),
            files=self.files,
            image_ids=self.image_ids,
            stated=np.array(self.sizes, np.float64).reshape(-1, 2),
            owner=np.array(self.owner, np.int64),
            numbers=np.array(self.numbers, np.float64).reshape(-1, 4),
            convention=convention,
            labels=np.array(self.labels, np.int64),
            flags=np.array(self.flags, np.uint8),
            areas=None,
            box_ids=list(range(1, len(self.owner) + 1)),
            strangers=self.strangers,
            rejections=self.rejections,
            picture_spot=picture_spot,
            box_spot=box_spot,
            details=details if detailed else None,
            states_sizes=states_sizes,
            assumed=assumed,
            videos=self.videos,
        )
