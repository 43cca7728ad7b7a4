"""YOLO: data.yaml, pictures, and a .txt file for each; boxes are centre and sides as shares of the picture.

A picture without a label file is a negative, like one whose file is empty, but is counted. Rows of polygons count
with the box around them. Whatever data.yaml names has to lie below it; "../train/images" as Roboflow writes it is
read as train/images.
"""

import os
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec
import numpy as np

from spnas.data.paths import Resolver, resolve_inside
from spnas.data.raw import RawData, Spot
from spnas.data.records import Annotations, DataReport
from spnas.data.rows import Rows
from spnas.data.source import first_bytes, note_mark, read_source
from spnas.data.tally import record
from spnas.data.voc_folder import PICTURE_SUFFIXES
from spnas.data.yolo_labels import label_path, parse_rows
from spnas.data.yolo_yaml import Described, find_yaml, read_description
from spnas.errors import DataError, escape, utf8
from spnas.shelf import nearest

LAYOUT = "YOLO: data.yaml with names, train and val, pictures in images/train and labels in labels/train/*.txt"
MOST_LABEL_BYTES = 16 << 20


class Label(msgspec.Struct, frozen=True):
    """Where the labels of a picture are, and whether there are any."""

    path: Path
    exists: bool


def recognise(path: Path) -> bool:
    """Tell whether `path` is a data.yaml, or a folder that holds one."""
    file = find_yaml(path)
    return file is not None and b"names" in first_bytes(file, 1 << 20)


def usual_split(path: Path, role: Literal["train", "val"]) -> str | None:
    """Return the role's own name when data.yaml has it. Raises: DataError when data.yaml cannot be understood."""
    return role if role in _described(path).splits else None


def read(path: Path, *, split: str) -> RawData:
    """Translate one split: a name in data.yaml, or a folder or list of pictures below it.

    Raises: DataError where it is not there, or a label file is no text.
    """
    known = _described(path)
    home = known.file.parent
    report = DataReport(source=str(known.file), format="yolo")
    note_mark(known.source, report)
    rows = Rows(report=report, classes=known.classes)
    files = [name for place in _places(known, split) for name in _pictures(known, place, report)]
    labels = _labels(home, files)
    _note_labels(report, known, labels=labels)
    polygons = 0
    for name, label in zip(files, labels, strict=True):
        rows.add_picture(name, image_id=utf8(str(PurePosixPath(name).with_suffix(""))))
        polygons += _add_rows(rows, label) if label.exists else 0
    if polygons:
        spot, hint = Spot(str(known.file), ""), "nothing needs to be done"
        reason = f"{polygons:,} rows are polygons; the boxes around them are used"
        record(report, spot, outcome="noted", code="yolo-polygon", reason=reason, hint=hint)
    return rows.finish(
        known.file,
        split=split,
        format="yolo",
        roots=(home,),
        convention="yolo",
        picture_spot=lambda row: Spot(str(known.file), files[row]),
        box_spot=lambda row: Spot(str(labels[rows.owner[row]].path), f"line {rows.at[row]}"),
        states_sizes=False,
        first_id=0,
    )


def picture_places(annotations: Annotations) -> list[str]:
    """Return where in a YOLO folder the pictures belong whose labels `write_labels` writes."""
    return [f"images/{annotations.name}/{name.replace('/', '__')}" for name in annotations.files]


def write_labels(annotations: Annotations) -> dict[str, str]:
    """Return a YOLO folder's text files by their names, data.yaml first; ignore regions are left out: it knows none."""
    known = annotations
    names = msgspec.json.encode(list(known.classes)).decode()  # JSON is YAML
    files = {"data.yaml": f"path: .\ntrain: images/{known.name}\nnc: {len(known.classes)}\nnames: {names}\n"}
    centres = (known.boxes[:, :2] + known.boxes[:, 2:]) / 2
    shares = np.concatenate((centres, known.boxes[:, 2:] - known.boxes[:, :2]), axis=1)
    shares /= np.repeat(np.tile(known.sizes, 2), np.diff(known.first), axis=0)
    lines = [
        " ".join([str(label), *(f"{share:.9g}" for share in row)])
        for label, row in zip(known.labels.tolist(), shares.tolist(), strict=True)
    ]
    for index, place in enumerate(picture_places(known)):
        rows = np.arange(len(lines))[known.rows(index)]
        text = "".join(f"{lines[row]}\n" for row in rows[known.targets[rows]])
        files[label_path(Path(place)).as_posix()] = text
    return files


def _add_rows(rows: Rows, label: Label) -> int:
    """Add a label file's boxes to the last picture, and return how many were polygons."""
    try:
        source = read_source(label.path, most_bytes=MOST_LABEL_BYTES)
    except DataError as error:
        if error.code == "file-empty":  # nothing is in the picture
            return 0
        raise
    note_mark(source, rows.report)
    found = parse_rows(source, classes=len(rows.classes))
    for row in found:
        rows.add_box(row.numbers, label=row.label, called=row.called, at=row.line, rejection=row.rejection)
    return sum(row.polygon for row in found)


def _described(path: Path) -> Described:
    file = find_yaml(path)
    if file is None:
        raise DataError(escape(str(path)), "", "layout-unknown", "has no data.yaml", f"expected {LAYOUT}")
    return read_description(file)


def _places(known: Described, split: str) -> tuple[str, ...]:
    """Return what data.yaml says of a split, or the split itself when it is a folder or list."""
    if split in known.splits:
        return known.splits[split]
    if not resolve_inside(known.file.parent, split).exists():
        reason = f"there is no split {escape(split)!r}"
        raise DataError(escape(str(known.file)), "", "splits-unknown", reason, nearest(split, list(known.splits)))
    return (split,)


def _pictures(known: Described, place: str, report: DataReport) -> list[str]:
    """Return the pictures of one place, as names below the folder of data.yaml."""
    home = known.file.parent
    found = _locate(known, place, report)
    if found.is_dir():
        names = []
        for folder, folders, entries in os.walk(found):
            folders.sort()
            below = Path(folder)
            names += [below / n for n in sorted(entries) if Path(n).suffix.lower() in PICTURE_SUFFIXES]
        return [path.relative_to(home).as_posix() for path in names]
    listed = []
    for line in read_source(found, most_bytes=1 << 28).data.decode().split("\n"):
        if name := line.strip():
            listed.append(_listed(home, found.parent, name))
    return listed


def _listed(home: Path, folder: Path, name: str) -> str:
    """Return the name below `home` of a picture that a list in `folder` names, from there or from `home`."""
    inside = _below(home, name)
    if inside is not None:
        return inside
    near = (folder.relative_to(home) / name).as_posix()
    return near if resolve_inside(home, near).exists() or not resolve_inside(home, name).exists() else name


def _below(home: Path, name: str) -> str | None:
    """Return an absolute name as one below `home` when it is that, else None."""
    if not os.path.isabs(name) or "\0" in name:
        return None
    inside = os.path.relpath(os.path.normpath(name), os.path.abspath(home))
    return None if inside.startswith("..") else inside


def _locate(known: Described, place: str, report: DataReport) -> Path:
    """Return where a place of data.yaml is."""
    home = known.file.parent
    base = _below(home, known.base) or known.base
    written = _below(home, place) or str(PurePosixPath(base, place))
    try:
        path = resolve_inside(home, written)
        if path.exists():
            return path
    except DataError as error:
        if error.code != "path-outside":
            raise
    inside = str(PurePosixPath(*(part for part in PurePosixPath(place).parts if part != "..")))
    if place.startswith("../") and resolve_inside(home, inside).exists():
        reason, hint = f"{place!r} leads outside; {inside!r} below data.yaml is used", "nothing needs to be done"
        record(report, Spot(str(known.file), place), outcome="noted", code="yolo-place", reason=reason, hint=hint)
        return home / inside
    path = resolve_inside(home, written)  # says so when it leads outside
    reason = f"there is no {escape(str(path))}"
    raise DataError(
        escape(str(known.file)), escape(place), "splits-unknown", reason, "mend data.yaml: path, train, val"
    )


def _labels(home: Path, files: list[str]) -> list[Label]:
    """Return where the labels of every picture are. Raises: DataError when two pictures would share them."""
    resolver = Resolver(home)
    owners: dict[Path, str] = {}
    labels = []
    for name in files:
        path = resolver.place(label_path(Path(name)).as_posix()).path
        other = owners.setdefault(path, name)
        if other != name:
            reason = f"{escape(other)} and {escape(name)} share one label file"
            raise DataError(escape(str(path)), "", "picture-stem-shared", reason, "rename or remove one")
        labels.append(Label(path, os.path.lexists(path)))
    return labels


def _note_labels(report: DataReport, known: Described, *, labels: list[Label]) -> None:
    """Note pictures without labels, and labels without pictures; refuse when no label file is there."""
    missing = [label.path for label in labels if not label.exists]
    if labels and len(missing) == len(labels):
        raise DataError(
            escape(str(known.file)),
            "",
            "yolo-no-labels",
            f"none of {len(labels):,} pictures has a label file; the first would be {escape(str(missing[0]))}",
            "put labels/ beside images/",
        )
    expected = {label.path for label in labels}
    hint = "nothing needs to be done if nothing is in the picture"
    for path in missing:
        reason = "is missing; its picture counts as empty"
        record(report, Spot(str(path), ""), outcome="noted", code="yolo-no-label", reason=reason, hint=hint)
    for folder in sorted({path.parent for path in expected}):
        entries = sorted(folder.glob("*.txt")) if folder.is_dir() else []
        for path in entries:
            if path not in expected and path.name != "classes.txt":
                reason, hint = "belongs to no picture of this split", "add the picture, or remove the file"
                record(report, Spot(str(path), ""), outcome="noted", code="yolo-orphan", reason=reason, hint=hint)
