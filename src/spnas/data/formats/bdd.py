"""BDD100K: one JSON file per split (2020, and 2018 as one file), or one per picture (2018).

Corners are pixels from 0, x2 and y2 not included; the benchmark's own rule of w = x2 - x1 + 1 is the metric's.
The classes are always the ten of the detection benchmark, in its order. Older names are matched to them; other
person, other vehicle and trailer become ignore regions. Labels without a box (lanes, drivable areas) are counted.
"""

import re
from pathlib import Path
from typing import Literal

from spnas.data.bdd_labels import (
    CLASSES,
    NOT_JUDGED,
    OLD_NAMES,
    Box,
    Frame,
    class_of,
    corners_of,
    flags_of,
    is_bdd,
    keys_held,
    labels_of,
    read_frame,
    read_frames,
    size_of,
    video_of,
)
from spnas.data.paths import resolve_inside
from spnas.data.raw import RawData, Spot
from spnas.data.records import DataReport
from spnas.data.repeats import refuse_twins
from spnas.data.rows import Rows
from spnas.data.source import first_bytes, note_mark, read_source
from spnas.data.tally import record
from spnas.errors import DataError, escape
from spnas.shelf import nearest

LAYOUT = (
    "BDD100K: labels/det_20/det_train.json and det_val.json with images/100k/train and val, "
    "or labels/bdd100k_labels_images_train.json, or labels/100k/train/*.json, or one .json file of frames"
)
NAMED = re.compile(r"(?:det|bdd100k_labels_images)_(\w+)\.json")
PLACES = ("labels/det_20", "labels", "det_20", ".", "labels/100k", "100k")
PICTURE_SIZE = (1280, 720)  # of every picture of the benchmark


def recognise(path: Path) -> bool:
    """Tell whether `path` is a file of frames, or a folder that holds such where BDD100K has them."""
    if path.is_dir():
        return bool(_sources(path))
    return path.suffix.lower() == ".json" and is_bdd(first_bytes(path))


def usual_split(path: Path, role: Literal["train", "val"]) -> str | None:
    """Return the role's own name when there are labels for it; a single file trains whole."""
    if not path.is_dir():
        return path.name if role == "train" else None
    return role if role in _sources(path) else None


def read(path: Path, *, split: str) -> RawData:
    """Translate one split.

    Raises: DataError where it is not there, or not BDD100K's.
    """
    place = _find(path, split)
    report = DataReport(source=str(place), format="bdd")
    rows = Rows(report=report, classes=CLASSES)
    alone = place.is_dir() and not NAMED.fullmatch(place.name)
    files = sorted(p for p in place.iterdir() if p.suffix == ".json") if alone else [place]
    homes: list[tuple[Path, str]] = []  # of every picture: its file, and where it stands in there
    boxless = 0
    for file in files:
        source = read_source(file)
        note_mark(source, report)
        frames = [read_frame(source)] if alone else read_frames(source)
        refuse_twins(source, keys_held(frames))
        for index, frame in enumerate(frames):
            homes.append((file, "frames[0].objects" if alone else f"[{index}].labels"))
            boxless += _add(rows, frame, name=f"{frame.name}.jpg" if alone and "." not in frame.name else frame.name)

    def picture_spot(row: int) -> Spot:
        return Spot(str(homes[row][0]), f"{homes[row][1].rpartition('.')[0]} ({rows.files[row]})")

    def box_spot(row: int) -> Spot:
        owner = rows.owner[row]
        return Spot(str(homes[owner][0]), f"{homes[owner][1]}[{rows.at[row]}] (image {rows.files[owner]})")

    if boxless:
        reason = f"{boxless:,} labels have no box2d (lanes, areas) and are not read"
        hint = "nothing needs to be done"
        record(report, Spot(str(place), ""), outcome="noted", code="bdd-no-box", reason=reason, hint=hint)
    _note_names(rows, place)
    return rows.finish(
        place,
        split=split,
        format="bdd",
        roots=_roots(path, place),
        convention="xyxy",
        picture_spot=picture_spot,
        box_spot=box_spot,
        detailed=True,
        states_sizes=False,
        assumed=PICTURE_SIZE,
    )


def _add(rows: Rows, frame: Frame, *, name: str) -> int:
    """Add a picture with its boxes, and return how many of its labels have none."""
    rows.add_picture(name, image_id=frame.name, size=size_of(frame), video=video_of(frame))
    boxless = 0
    for index, label in enumerate(labels_of(frame)):
        if not isinstance(label.box2d, Box):
            boxless += 1
            continue
        place, flags = class_of(label.category)
        flags |= flags_of(label.attributes)
        rows.add_box(corners_of(label.box2d), label=place, called=label.category, at=index, flags=flags)
    return boxless


def _note_names(rows: Rows, place: Path) -> None:
    """Say once which older and which unjudged categories were matched to the ten classes."""
    for known, code in ((OLD_NAMES, "bdd-old-names"), (NOT_JUDGED, "bdd-not-judged")):
        found = [f"{name} to {known[name]}" for name in sorted(set(rows.identity) & set(known))]
        if found:
            reason = f"matched {', '.join(found)}{' as ignore regions' if known is NOT_JUDGED else ''}"
            hint = "nothing needs to be done"
            record(rows.report, Spot(str(place), ""), outcome="noted", code=code, reason=reason, hint=hint)


def _sources(path: Path) -> dict[str, Path]:
    """Return what holds each split: a file of frames, or a folder of one file per picture; the newest layout wins."""
    found: dict[str, Path] = {}
    for place in (path / name for name in PLACES):
        if not place.is_dir():
            continue
        for entry in sorted(place.iterdir()):
            named = NAMED.fullmatch(entry.name)
            if named:
                found.setdefault(named[1], entry)
            elif place.name == "100k" and entry.is_dir() and any(entry.glob("*.json")):
                found.setdefault(entry.name, entry)
    return found


def _find(path: Path, split: str) -> Path:
    """Return what holds a split."""
    if not path.is_dir():
        return path if split == path.name else resolve_inside(path.parent, split)
    sources = _sources(path)
    if split in sources:
        return sources[split]
    place = resolve_inside(path, split)
    if not place.exists():
        raise DataError(
            escape(str(path)),
            "",
            "splits-unknown",
            f"there is no split {escape(split)!r}",
            nearest(split, list(sources)) if sources else "name a .json file",
        )
    return place


def _roots(path: Path, place: Path) -> tuple[Path, ...]:
    """Return the folders in which the pictures of `place` may lie."""
    named = NAMED.fullmatch(place.name)
    split = named[1] if named else place.stem
    tops = [path] if path.is_dir() else list(path.absolute().parents[:3])
    names = (f"images/100k/{split}", f"images/10k/{split}", f"images/{split}", f"100k/{split}", split, "images", ".")
    return tuple(top / name for top in tops for name in names)
