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
from spnas.data.source import read_source
from spnas.data.tally import record
from spnas.data.xml_tree import Element, numbers, read_xml
from spnas.errors import DataError, escape
from spnas.shelf import nearest

LAYOUT = (
    "PASCAL VOC: Annotations/*.xml and JPEGImages/, with ImageSets/Main/train.txt and val.txt "
    "(or trainval.txt and test.txt) if it is divided; or a folder of .xml files beside their pictures"
)
WHOLE = "all"  # the split of a folder that is not divided
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Home(msgspec.Struct, frozen=True):
    """Where the parts of a VOC folder lie."""

    root: Path
    annotations: Path
    pictures: Path
    lists: Path


class Columns(msgspec.Struct, kw_only=True):
    """Boxes as they are collected, file by file."""

    owner: list[int] = []
    numbers: list[list[float]] = []
    names: list[str | None] = []
    flags: list[int] = []
    spots: list[Spot] = []
    rejections: dict[int, Rejection] = {}


def recognise(path: Path) -> bool:
    """Tell whether `path` (or the only folder in it) has XML files where VOC has them."""
    return _home(path) is not None


def usual_split(path: Path, role: Literal["train", "val"]) -> str | None:
    """Return trainval and test where both are listed, else train and val; an undivided folder trains whole."""
    home = _home(path)
    listed = _lists(home) if home else []
    if not listed:
        return WHOLE if role == "train" else None
    official = {"trainval", "test"} <= set(listed)
    order = {
        "train": ("trainval", "train") if official else ("train", "trainval"),
        "val": ("test", "val") if official else ("val", "test"),
    }
    return next((name for name in order[role] if name in listed), None)


def read(path: Path, *, split: str) -> RawData:
    """Translate the XML files of one split.

    Raises: DataError where one is missing or is not VOC.
    """
    home = _home(path)
    if home is None:
        raise DataError(escape(str(path)), "", "layout-unknown", "is no VOC folder", f"expected {LAYOUT}")
    source = home.lists / f"{split}.txt" if split != WHOLE else home.annotations
    report = DataReport(source=str(source), format="voc")
    stems = _listed(home, split) if split != WHOLE else _all_stems(home, report)
    found = _pictures(home)
    documents = Resolver(home.annotations)
    columns = Columns()
    files: list[str] = []
    places: list[Path] = []
    stated = np.full((len(stems), 2), np.nan)
    for row, stem in enumerate(stems):
        place = documents.place(f"{stem}.xml").path
        root = read_xml(place)
        if root.tag != "annotation":
            raise DataError(
                escape(str(place)),
                f"line {root.line}",
                "voc-root",
                f"the root is <{escape(root.tag)}>",
                "expected <annotation>",
            )
        files.append(_picture_of(home, stem, found, root, place, report))
        places.append(place)
        size = numbers(root.child("size"), ("width", "height"))
        if size is not None and all(v >= 1 for v in size):  # some tools write 0 for "not known"
            stated[row] = size
        for element in root.children:
            if element.tag == "object":
                _add_box(columns, element, row, place, report)
    return _raw(home, source, split, report, columns, files, places, stems, stated)


def _raw(
    home: Home,
    source: Path,
    split: str,
    report: DataReport,
    columns: Columns,
    files: list[str],
    places: list[Path],
    stems: list[str],
    stated: "np.typing.NDArray[np.float64]",
) -> RawData:
    """Put what was collected into arrays; the classes are the names that occur, sorted."""
    classes = tuple(sorted({name for name in columns.names if name}))
    index = {name: row for row, name in enumerate(classes)}
    labels = [index[name] if name else UNKNOWN for name in columns.names]
    corners = np.array(columns.numbers, np.float64).reshape(-1, 4)
    zero_based = np.flatnonzero((corners[:, :2] == 0).any(axis=1))
    if len(zero_based):
        spot = columns.spots[int(zero_based[0])]
        reason = f"{len(zero_based):,} boxes begin at 0, which is left as it is: VOC counts from 1"
        record(report, "noted", "voc-zero-based", spot, reason, "check which tool wrote the files")
    return RawData(
        source=source,
        split=split,
        format="voc",
        roots=(home.root,),
        report=report,
        classes=classes,
        category_ids=tuple(range(1, len(classes) + 1)),
        files=files,
        image_ids=list(stems),
        stated=stated,
        owner=np.array(columns.owner, np.int64),
        numbers=corners,
        convention="voc",
        labels=np.array(labels, np.int64),
        flags=np.array(columns.flags, np.uint8),
        areas=None,
        box_ids=list(range(1, len(labels) + 1)),
        strangers={row: "(no name)" for row, name in enumerate(columns.names) if not name},
        rejections=columns.rejections,
        picture_spot=lambda row: Spot(str(places[row]), files[row]),
        box_spot=lambda row: columns.spots[row],
    )


def _add_box(columns: Columns, element: Element, owner: int, place: Path, report: DataReport) -> None:
    """Collect one object; what is missing in it is kept as a reason to leave it out."""
    row = len(columns.owner)
    name = element.value("name") or None
    bounds = element.child("bndbox")
    corners = numbers(bounds, CORNERS)
    spot = Spot(str(place), f"line {bounds.line if bounds else element.line}")
    if bounds is None:
        columns.rejections[row] = Rejection("voc-no-box", "an object has no bndbox", "draw it or drop the object")
    elif name is None:
        columns.rejections[row] = Rejection("voc-no-name", "an object has no name", "name or drop it")
    elif corners is None:
        reason = f"bndbox lacks one of {', '.join(CORNERS)}, or it is no number"
        columns.rejections[row] = Rejection("box-not-four-numbers", reason, "mend or drop it")
    difficult = element.value("difficult") or "0"
    if difficult not in ("0", "1"):
        reason = f"difficult is {difficult!r} and counts as 0"
        record(report, "noted", "voc-difficult-value", spot, reason, "write 0 or 1")
    flags = DIFFICULT if difficult == "1" else 0
    flags |= TRUNCATED if element.value("truncated") == "1" else 0
    flags |= OCCLUDED if element.value("occluded") == "1" else 0
    columns.owner.append(owner)
    columns.numbers.append(corners or [np.nan] * 4)
    columns.names.append(name)
    columns.flags.append(flags)
    columns.spots.append(spot)


def _home(path: Path) -> Home | None:
    """Find the parts, in `path` or in the only folder inside it that looks like VOC."""
    if not path.is_dir():
        return None
    for root in (path, *sorted(p for p in path.iterdir() if p.is_dir())):
        annotations = root / "Annotations"
        if annotations.is_dir() and any(annotations.glob("*.xml")):
            pictures = next((root / n for n in ("JPEGImages", "images") if (root / n).is_dir()), annotations)
            return Home(root, annotations, pictures, root / "ImageSets" / "Main")
    if any(path.glob("*.xml")):
        return Home(path, path, path, path / "ImageSets" / "Main")
    return None


def _lists(home: Home) -> list[str]:
    return sorted(p.stem for p in home.lists.glob("*.txt")) if home.lists.is_dir() else []


def _listed(home: Home, split: str) -> list[str]:
    """Return the stems that ImageSets/Main lists for a split."""
    known = _lists(home)
    if split not in known:
        raise DataError(
            escape(str(home.lists)),
            "",
            "splits-unknown",
            f"there is no split {escape(split)!r}",
            nearest(split, known) if known else "leave out --train and --val",
        )
    lines = read_source(home.lists / f"{split}.txt").data.decode().splitlines()
    stems = []
    for line in lines:
        name = line.strip()
        head, _, mark = name.rpartition(" ")
        if mark in ("-1", "0", "1") and head and not (home.annotations / f"{name}.xml").exists():
            name = head.strip()  # lists of one class mark every name
        if name:
            stems.append(name)
    return stems


def _all_stems(home: Home, report: DataReport) -> list[str]:
    """Return the stems of all XML files; pictures that have none are noted."""
    stems = sorted(p.stem for p in home.annotations.glob("*.xml"))
    for name in sorted(set(_pictures(home)) - set(stems)):
        spot = Spot(str(home.pictures), name)
        record(report, "noted", "voc-no-annotation", spot, "a picture has no .xml and is left out", "annotate it")
    return stems


def _pictures(home: Home) -> dict[str, list[str]]:
    """Return the names of the picture files, by stem."""
    found: dict[str, list[str]] = {}
    for path in sorted(home.pictures.iterdir()):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            found.setdefault(path.stem, []).append(path.name)
    return found


def _picture_of(
    home: Home, stem: str, found: dict[str, list[str]], root: Element, place: Path, report: DataReport
) -> str:
    """Return the file, below the root, of the picture that an XML file belongs to: the one of its stem."""
    names = found.get(stem, [])
    if len(names) > 1:
        raise DataError(
            escape(str(home.pictures)),
            "",
            "picture-stem-shared",
            f"{' and '.join(escape(n) for n in names)} share one .xml",
            "rename or remove one",
        )
    written = root.value("filename") or ""
    if written and Path(written.replace("\\", "/")).stem != stem and names:
        spot = Spot(str(place), f"line {root.child('filename').line}")  # type: ignore[union-attr]
        reason = f"names {written!r}; {names[0]!r} is used, by the name of the .xml"
        record(report, "noted", "voc-filename", spot, reason, "nothing needs to be done")
    folder = home.pictures.relative_to(home.root).as_posix()
    name = names[0] if names else f"{stem}.jpg"
    return name if folder == "." else f"{folder}/{name}"
