"""Where the parts of a VOC folder lie, and which pictures its lists name."""

from pathlib import Path

import msgspec

from spnas.data.raw import Spot
from spnas.data.records import DataReport
from spnas.data.source import read_source
from spnas.data.tally import record
from spnas.errors import DataError, escape
from spnas.shelf import nearest

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


class Home(msgspec.Struct, frozen=True):
    """Where the parts of a VOC folder lie."""

    root: Path
    annotations: Path
    pictures: Path
    lists: Path


def find_home(path: Path) -> Home | None:
    """Find the parts, in `path` or in the only folder inside it that looks like VOC."""
    if not path.is_dir():
        return None
    found = [root for root in (path, *sorted(path.iterdir())) if _has_xml(root / "Annotations")]
    if found and (found[0] == path or len(found) == 1):
        root, annotations = found[0], found[0] / "Annotations"
        pictures = next((root / n for n in ("JPEGImages", "images") if (root / n).is_dir()), annotations)
        return Home(root, annotations, pictures, root / "ImageSets" / "Main")
    if _has_xml(path):
        return Home(path, path, path, path / "ImageSets" / "Main")
    return None


def _has_xml(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.xml"))


def lists(home: Home) -> list[str]:
    """Return the names of the splits that are listed."""
    return sorted(p.stem for p in home.lists.glob("*.txt")) if home.lists.is_dir() else []


def listed(home: Home, split: str) -> list[str]:
    """Return the stems that ImageSets/Main lists for a split."""
    known = lists(home)
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


def all_stems(home: Home, report: DataReport) -> list[str]:
    """Return the stems of all XML files; pictures that have none are noted."""
    stems = sorted(p.stem for p in home.annotations.glob("*.xml"))
    for name in sorted(set(pictures(home)) - set(stems)):
        spot = Spot(str(home.pictures), name)
        record(
            report,
            spot,
            outcome="noted",
            code="voc-no-annotation",
            reason="a picture has no .xml and is left out",
            hint="annotate it",
        )
    return stems


def pictures(home: Home) -> dict[str, list[str]]:
    """Return the names of the picture files, by stem."""
    found: dict[str, list[str]] = {}
    for path in sorted(home.pictures.iterdir()):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            found.setdefault(path.stem, []).append(path.name)
    return found
