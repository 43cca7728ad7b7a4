"""PASCAL VOC: one XML file per picture; corners count pixels from 1 and include the last one.

A box becomes x1 - 1, y1 - 1, x2, y2. Corners at 0, which 1-based files cannot have, stay at 0 and are noted.
A box whose numbers enclose nothing (xmin = xmax) is of zero area, although inclusive reading makes it a pixel.
Where ImageSets/Main has trainval and test, all of trainval is learned from and test is judged on.
"""

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from spnas.data.paths import Resolver
from spnas.data.raw import UNKNOWN, RawData, Rejection, Spot
from spnas.data.records import DIFFICULT, OCCLUDED, TRUNCATED, DataReport
from spnas.data.tally import record
from spnas.data.voc_folder import Home, all_stems, find_home, listed, lists, pictures
from spnas.data.xml_tree import Element, numbers, read_xml
from spnas.errors import DataError, escape, utf8

LAYOUT = (
    "PASCAL VOC: Annotations/*.xml and JPEGImages/, with ImageSets/Main/train.txt and val.txt "
    "(or trainval.txt and test.txt) if it is divided; or a folder of .xml files beside their pictures"
)
WHOLE = "all"  # the split of a folder that is not divided
CORNERS = ("xmin", "ymin", "xmax", "ymax")
UNSTATED = (np.nan, np.nan)


class Collected(msgspec.Struct, kw_only=True):
    """What the files of a split say: `files`, `places` (of the XML) and `sizes` per picture, the rest per box."""

    report: DataReport
    files: list[str] = []
    places: list[Path] = []
    sizes: list[tuple[float, float]] = []
    owner: list[int] = []
    numbers: list[list[float]] = []
    names: list[str | None] = []
    flags: list[int] = []
    spots: list[Spot] = []
    rejections: dict[int, Rejection] = {}


def recognise(path: Path) -> bool:
    """Tell whether `path` (or a folder in it) has XML files where VOC has them."""
    return find_home(path) is not None


def usual_split(path: Path, role: Literal["train", "val"]) -> str | None:
    """Return trainval and test where both are listed, else train and val; an undivided folder trains whole."""
    home = find_home(path)
    known = lists(home) if home else []
    if not known:
        return WHOLE if role == "train" else None
    official = {"trainval", "test"} <= set(known)
    order = {
        "train": ("trainval", "train") if official else ("train", "trainval"),
        "val": ("test", "val") if official else ("val", "test"),
    }
    return next((name for name in order[role] if name in known), None)


def read(path: Path, *, split: str) -> RawData:
    """Translate the XML files of one split.

    Raises: DataError where one is missing or is not VOC.
    """
    home = find_home(path)
    if home is None:
        raise DataError(escape(str(path)), "", "layout-unknown", "is no VOC folder", f"expected {LAYOUT}")
    source = home.lists / f"{split}.txt" if split != WHOLE else home.annotations
    collected = Collected(report=DataReport(source=str(source), format="voc"))
    stems = listed(home, split) if split != WHOLE else all_stems(home, collected.report)
    found = pictures(home)
    documents = Resolver(home.annotations)
    for stem in stems:
        place = documents.place(f"{stem}.xml").path
        root = read_xml(place)
        if root.tag != "annotation":
            reason = f"the root is <{escape(root.tag)}>"
            raise DataError(escape(str(place)), f"line {root.line}", "voc-root", reason, "expected <annotation>")
        collected.files.append(_picture_of(home, stem, names=found.get(stem, [])))
        collected.places.append(place)
        _note_filename(collected, root)
        size = numbers(root.child("size"), ("width", "height"))
        stated = size is not None and all(v >= 1 for v in size)  # some tools write 0 for "not known"
        collected.sizes.append((size[0], size[1]) if size is not None and stated else UNSTATED)
        for element in root.children:
            if element.tag == "object":
                _add_box(collected, element)
    return _columns(collected, home, source=source, split=split)


def _columns(collected: Collected, home: Home, *, source: Path, split: str) -> RawData:
    """Put what was collected into arrays; the classes are the names that occur, sorted."""
    names, files, places, spots = collected.names, collected.files, collected.places, collected.spots
    classes = tuple(sorted({name for name in names if name}))
    index = {name: row for row, name in enumerate(classes)}
    corners = np.array(collected.numbers, np.float64).reshape(-1, 4)
    zero_based = np.flatnonzero((corners[:, :2] == 0).any(axis=1))
    if len(zero_based):
        reason = f"{len(zero_based):,} boxes begin at 0, which is left as it is: VOC counts from 1"
        hint = "check which tool wrote the files"
        spot = spots[int(zero_based[0])]
        record(collected.report, spot, outcome="noted", code="voc-zero-based", reason=reason, hint=hint)
    return RawData(
        source=source,
        split=split,
        format="voc",
        roots=(home.root,),
        report=collected.report,
        classes=classes,
        category_ids=tuple(range(1, len(classes) + 1)),
        files=files,
        image_ids=[utf8(place.stem) for place in places],
        stated=np.array(collected.sizes, np.float64).reshape(-1, 2),
        owner=np.array(collected.owner, np.int64),
        numbers=corners,
        convention="voc",
        labels=np.array([index[name] if name else UNKNOWN for name in names], np.int64),
        flags=np.array(collected.flags, np.uint8),
        areas=None,
        box_ids=list(range(1, len(names) + 1)),
        strangers={row: "(no name)" for row, name in enumerate(names) if not name},
        rejections=collected.rejections,
        picture_spot=lambda row: Spot(str(places[row]), files[row]),
        box_spot=lambda row: spots[row],
    )


def _add_box(collected: Collected, element: Element) -> None:
    """Collect one object of the last picture; what is missing in it is kept as a reason to leave it out."""
    row = len(collected.owner)
    name = element.value("name") or None
    bounds = element.child("bndbox")
    corners = numbers(bounds, CORNERS)
    spot = Spot(str(collected.places[-1]), f"line {bounds.line if bounds else element.line}")
    if bounds is None:
        collected.rejections[row] = Rejection("voc-no-box", "an object has no bndbox", "draw it or drop the object")
    elif name is None:
        collected.rejections[row] = Rejection("voc-no-name", "an object has no name", "name or drop it")
    elif corners is None:
        reason = f"bndbox lacks one of {', '.join(CORNERS)}, or it is no number"
        collected.rejections[row] = Rejection("box-not-four-numbers", reason, "mend or drop it")
    difficult = element.value("difficult") or "0"
    if difficult not in ("0", "1"):
        reason, code = f"difficult is {difficult!r} and counts as 0", "voc-difficult-value"
        record(collected.report, spot, outcome="noted", code=code, reason=reason, hint="write 0 or 1")
    flags = DIFFICULT if difficult == "1" else 0
    flags |= TRUNCATED if element.value("truncated") == "1" else 0
    flags |= OCCLUDED if element.value("occluded") == "1" else 0
    collected.owner.append(len(collected.files) - 1)
    collected.numbers.append(corners or [np.nan] * 4)
    collected.names.append(name)
    collected.flags.append(flags)
    collected.spots.append(spot)


def _picture_of(home: Home, stem: str, *, names: list[str]) -> str:
    """Return the file, below the root, of the picture whose stem an XML file has."""
    if len(names) > 1:
        raise DataError(
            escape(str(home.pictures)),
            "",
            "picture-stem-shared",
            f"{' and '.join(escape(n) for n in names)} share one .xml",
            "rename or remove one",
        )
    folder = home.pictures.relative_to(home.root).as_posix()
    name = names[0] if names else f"{stem}.jpg"
    return name if folder == "." else f"{folder}/{name}"


def _note_filename(collected: Collected, root: Element) -> None:
    """Note a file name inside that is not the one of the XML file itself, which counts."""
    written = root.child("filename")
    text = "" if written is None else written.text.strip()
    place, file = collected.places[-1], collected.files[-1]
    if written is not None and text and Path(text.replace("\\", "/")).stem != place.stem:
        spot = Spot(str(place), f"line {written.line}")
        reason = f"names {text!r}; {file!r} is used, by the name of the .xml"
        hint = "nothing needs to be done"
        record(collected.report, spot, outcome="noted", code="voc-filename", reason=reason, hint=hint)
