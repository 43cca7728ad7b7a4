"""EuroCity Persons: one JSON file per picture, in folders of cities; corners are pixels from 0.

Pedestrians and riders are learned. Groups far away, groups of vehicles, a rider's vehicle, and persons who sit,
lie, stand behind glass or are only depicted are ignore regions. `Details` keep what the benchmark's own metric
needs: identities, occlusion, truncation, tags, and which vehicle is whose.
"""

import unicodedata
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.ecp_labels import (
    CLASSES,
    VEHICLES,
    class_of,
    corners_of,
    flatten,
    keys_held,
    read_frame,
    read_tags,
    sequence_of,
    size_of,
)
from spnas.data.paths import resolve_inside
from spnas.data.raw import RawData, Spot
from spnas.data.records import NO_PARENT, Annotations, DataReport
from spnas.data.repeats import refuse_twins
from spnas.data.rows import Rows
from spnas.data.source import note_mark, read_source
from spnas.data.voc_folder import PICTURE_SUFFIXES
from spnas.errors import DataError, escape, utf8
from spnas.shelf import nearest

LAYOUT = "EuroCity Persons: labels/train/CITY/*.json and labels/val/CITY/*.json with img/train/CITY/*.png and img/val"
SPLITS = ("train", "val", "test")


def recognise(path: Path) -> bool:
    """Tell whether `path` (or day/ or night/ in it) has folders of cities where the benchmark has them."""
    return _home(path) is not None


def usual_split(path: Path, role: Literal["train", "val"]) -> str | None:
    """Return the role's own name when there are labels for it."""
    home = _home(path)
    return role if home is not None and role in _splits(home) else None


def read(path: Path, *, split: str) -> RawData:
    """Translate the files of one split, city by city.

    Raises: DataError where one is not a label file, or the split is not there.
    """
    home = _home(path)
    if home is None:
        raise DataError(escape(str(path)), "", "layout-unknown", "is no EuroCity Persons folder", f"expected {LAYOUT}")
    known = _splits(home)
    if split not in known:
        reason = f"there is no split {escape(split)!r}"
        raise DataError(escape(str(home / "labels")), "", "splits-unknown", reason, nearest(split, known))
    folder = resolve_inside(home / "labels", split)
    files = sorted(folder.glob("*/*.json"))
    rows = Rows(report=DataReport(source=str(folder), format="ecp"), classes=CLASSES)
    pictures = _Pictures(home / "img" / split)
    stems = [file.stem for file in files]
    own = len(set(stems)) == len(stems)  # else the city belongs to the name
    paths: list[str] = []  # of every box, in its file
    for file in files:
        source = read_source(file)
        note_mark(source, rows.report)
        frame = read_frame(source)
        things = flatten(source, frame)
        refuse_twins(source, keys_held(frame, things))
        key = file.stem if own else f"{file.parent.name}/{file.stem}"
        name = utf8(key)
        rows.add_picture(pictures.of(file), image_id=name, size=size_of(frame), video=sequence_of(file.stem))
        start = len(rows.owner)
        for thing in things:
            above = None if thing.above is None else things[thing.above].node.identity
            owned = thing.node.identity in VEHICLES and above == "rider"
            label, flags = class_of(thing.node.identity)
            said, occlusion, truncation, tags = read_tags(thing.node.tags)
            rows.add_box(
                corners_of(thing.node),
                label=label,
                called=thing.node.identity,
                at=len(paths),
                flags=flags | said,
                occlusion=occlusion,
                truncation=truncation,
                tags=tags,
                parent=start + thing.above if owned and thing.above is not None else NO_PARENT,
            )
            paths.append(thing.path)
    return rows.finish(
        folder,
        split=split,
        format="ecp",
        roots=(home / "img" / split,),
        convention="xyxy",
        picture_spot=lambda row: Spot(str(files[row]), rows.files[row]),
        box_spot=lambda row: Spot(str(files[rows.owner[row]]), paths[rows.at[row]]),
        detailed=True,
    )


def write_detections(
    annotations: Annotations,
    *,
    image_index: NDArray[np.int64],
    labels: NDArray[np.int64],
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> dict[str, bytes]:
    """Return the benchmark's detection files by their names, one for every picture.

    Shapes: all of them (D,) but boxes (D, 4) xyxy in pixels; image_index are pictures of `annotations`.
    """
    children: list[list[dict[str, object]]] = [[] for _ in range(len(annotations))]
    for image, label, box, score in zip(
        image_index.tolist(), labels.tolist(), boxes.tolist(), scores.tolist(), strict=True
    ):
        corners = {key: round(value, 3) for key, value in zip(("x0", "y0", "x1", "y1"), box, strict=True)}
        children[image].append({"identity": annotations.classes[label], "score": round(score, 6)} | corners)
    return {
        f"{str(key).rpartition('/')[2]}.json": msgspec.json.encode({"identity": "frame", "children": found})
        for key, found in zip(annotations.image_ids, children, strict=True)
    }


class _Pictures:
    """Finds a label file's picture, whose city may be written in another Unicode form."""

    def __init__(self, root: Path) -> None:
        self.cities = {}
        if root.is_dir():
            self.cities = {unicodedata.normalize("NFC", p.name): p for p in sorted(root.iterdir()) if p.is_dir()}
        self.names: dict[str, dict[str, list[str]]] = {}

    def of(self, file: Path) -> str:
        """Return CITY/NAME below the root; .png when there is no such picture."""
        city = unicodedata.normalize("NFC", file.parent.name)
        if city not in self.cities:
            return f"{file.parent.name}/{file.stem}.png"
        if city not in self.names:
            names = self.names[city] = dict[str, list[str]]()
            for path in sorted(self.cities[city].iterdir()):
                if path.suffix.lower() in PICTURE_SUFFIXES:
                    names.setdefault(unicodedata.normalize("NFC", path.stem), []).append(path.name)
        found = self.names[city].get(unicodedata.normalize("NFC", file.stem), [f"{file.stem}.png"])
        if len(found) > 1:
            raise DataError(
                escape(str(self.cities[city])),
                "",
                "picture-stem-shared",
                f"{' and '.join(escape(n) for n in found)} share one .json",
                "rename or remove one",
            )
        return f"{self.cities[city].name}/{found[0]}"


def _home(path: Path) -> Path | None:
    """Return the folder that holds labels/."""
    return next((home for home in (path, path / "day", path / "night") if _splits(home)), None)


def _splits(home: Path) -> list[str]:
    return [name for name in SPLITS if any((home / "labels" / name).glob("*/*.json"))]
