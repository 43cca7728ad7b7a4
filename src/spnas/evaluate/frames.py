"""Detections as the benchmarks' own tools write them: BDD100K's list of frames, EuroCity Persons' file per picture."""

from pathlib import Path

import msgspec
import numpy as np

from spnas.data.bdd_labels import OLD_NAMES
from spnas.data.records import Annotations
from spnas.data.source import SourceText, decode_json, read_source
from spnas.errors import DataError, escape
from spnas.evaluate.detect import Found

BEGINNING = 4096  # bytes looked at to tell what a file is
FARTHEST_PX = 1e9  # areas of what lies nearer are exact enough
CALLED = {"cyclist": "rider"}  # EuroCity Persons' detections may use the older name


class Box2d(msgspec.Struct, gc=False):
    """Corners as BDD100K writes them."""

    x1: float
    y1: float
    x2: float
    y2: float


class Label(msgspec.Struct, gc=False):
    """One detection of BDD100K's form."""

    category: str
    score: float
    box2d: Box2d


class Frame(msgspec.Struct):
    """One picture of BDD100K's form."""

    name: str
    labels: list[Label] | None = None


class Frames(msgspec.Struct):
    """Frames in an object, which newer files are."""

    frames: list[Frame]


class Child(msgspec.Struct, gc=False):
    """One detection of EuroCity Persons' form: corners, or first and last column and row."""

    identity: str
    score: float
    x0: float | None = None
    y0: float | None = None
    x1: float | None = None
    y1: float | None = None
    mincol: float | None = None
    minrow: float | None = None
    maxcol: float | None = None
    maxrow: float | None = None

    def corners(self) -> tuple[float, float, float, float] | None:
        """Return x1, y1, x2, y2, where the last column and row end; None when neither form is there whole."""
        if self.x0 is not None and self.y0 is not None and self.x1 is not None and self.y1 is not None:
            return self.x0, self.y0, self.x1, self.y1
        first, last = (self.mincol, self.minrow), (self.maxcol, self.maxrow)
        if first[0] is not None and first[1] is not None and last[0] is not None and last[1] is not None:
            return first[0], first[1], last[0] + 1, last[1] + 1
        return None


class Picture(msgspec.Struct):
    """One picture of EuroCity Persons' form."""

    identity: str
    children: list[Child] = []


Detection = tuple[int, tuple[float, float, float, float], float, int]  # picture, corners, score, label


def is_frames(source: SourceText) -> bool:
    """Tell BDD100K's frames from COCO's results, by how the file begins."""
    start = source.data[:BEGINNING].lstrip()
    return b'"image_id"' not in start and (start.startswith(b"{") or b'"name"' in start)


def read_frames(source: SourceText, annotations: Annotations) -> Found:
    """Read BDD100K's frames; they are matched to pictures by name, and older class names are understood.

    Raises: DataError naming the record, when it is of no picture or class of the data, or damaged.
    """
    expected = "frames with name and labels, each label with category, score and box2d"
    if source.data.lstrip().startswith(b"{"):
        frames = decode_json(source, Frames, expected=expected).frames
    else:
        frames = decode_json(source, list[Frame], expected=expected)
    pictures = _by_name(annotations)
    labels = {name: i for i, name in enumerate(annotations.classes)}
    labels |= {old: labels[new] for old, new in OLD_NAMES.items() if new in labels and old not in labels}
    rows: list[Detection] = []
    for n, frame in enumerate(frames):
        picture = _picture(pictures, frame.name, annotations, source=source, where=f"[{n}]")
        for k, label in enumerate(frame.labels or []):
            where = f"[{n}].labels[{k}] (image {escape(frame.name)})"
            if label.category not in labels:
                known = ", ".join(annotations.classes[:20])
                reason = f"category {label.category!r} is no class of the data"
                raise _fault(source, where, "result-unknown-class", reason, hint=f"known: {known}")
            b = label.box2d
            box = (b.x1, b.y1, b.x2, b.y2)
            if fault := box_fault(box):
                raise _fault(source, where, *fault, hint="mend or drop it")
            rows.append((picture, box, label.score, labels[label.category]))
    return _gather(rows, annotations)


def read_folder(folder: Path, annotations: Annotations) -> Found:
    """Read EuroCity Persons' detections: one .json a picture, of the picture's name, in `folder` or a folder in it.

    Other identities than the classes of the data are left out, as in the benchmark's own tool; a picture without a
    file has no detections.

    Raises: DataError naming the record, when it is of no picture of the data, or damaged.
    """
    pictures = _by_name(annotations)
    labels = {name.casefold(): i for i, name in enumerate(annotations.classes)}
    rows: list[Detection] = []
    for file in sorted(folder.rglob("*.json")):
        source = read_source(file)
        frame = decode_json(source, Picture, expected="a frame with children, each with identity, score and a box")
        city = f"{file.parent.name}/{file.stem}"
        name = city if city in pictures else file.stem
        picture = _picture(pictures, name, annotations, source=source, where="")
        for k, child in enumerate(frame.children):
            box = child.corners()
            if box is None:
                reason = "has neither x0, y0, x1, y1 nor mincol, minrow, maxcol, maxrow"
                raise _fault(source, f"children[{k}]", "result-no-box", reason, hint="write all four of one kind")
            if fault := box_fault(box):
                raise _fault(source, f"children[{k}]", *fault, hint="mend or drop it")
            label = labels.get(CALLED.get(child.identity, child.identity).casefold())
            if label is not None:
                rows.append((picture, box, child.score, label))
    return _gather(rows, annotations)


def box_fault(corners: tuple[float, float, float, float]) -> tuple[str, str] | None:
    """Return code and reason when these finite numbers are no box; a box without an area is one that hits nothing."""
    x1, y1, x2, y2 = corners
    if x2 < x1 or y2 < y1:
        return "result-negative-side", f"box {list(corners)} (corners) has a negative side"
    if max(map(abs, corners)) > FARTHEST_PX:
        return "result-absurd", f"box {list(corners)} (corners) lies far outside any picture"
    return None


def _by_name(annotations: Annotations) -> dict[str, int]:
    """Return pictures by everything they may be called; what two of them share is left out."""
    names: dict[str, int | None] = {}
    for index, (known, file) in enumerate(zip(annotations.image_ids, annotations.files, strict=True)):
        for name in {str(known), file, Path(file).name, Path(file).stem}:
            names[name] = index if name not in names else None
    return {name: index for name, index in names.items() if index is not None}


def _picture(pictures: dict[str, int], name: str, annotations: Annotations, *, source: SourceText, where: str) -> int:
    if name not in pictures:
        reason = f"{name!r} is none of the {len(annotations):,} pictures of {annotations.name}"
        raise _fault(source, where, "result-unknown-picture", reason, hint="give the data and split that was looked at")
    return pictures[name]


def _fault(source: SourceText, where: str, code: str, reason: str, *, hint: str) -> DataError:
    return DataError(escape(str(source.path)), where, code, escape(reason), escape(hint))


def _gather(rows: list[Detection], annotations: Annotations) -> Found:
    image_index = np.array([r[0] for r in rows], np.int64)
    boxes = np.array([r[1] for r in rows], np.float64).reshape(-1, 4)
    return Found(
        image_index=image_index,
        boxes=annotations.turned(boxes, image_index),
        scores=np.array([r[2] for r in rows], np.float64),
        labels=np.array([r[3] for r in rows], np.int64),
    ).in_order()
