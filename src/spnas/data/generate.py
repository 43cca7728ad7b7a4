"""A small detection problem made on the spot: shapes on textured grounds, written as a COCO folder."""

import hashlib
import io
import os
import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spnas.data import shapes
from spnas.errors import DataError, ResourceError, UsageError
from spnas.rng import rng as keyed_rng

VERSION = 1  # raise it when the same settings begin to give other pictures
STAMP = "generated.json"
TRIES = 40  # places tried for one shape before it is left out
LEAST_VISIBLE = 0.4  # of every shape, however crowded

Box = tuple[int, int, int, int]  # x, y, width, height


class GeneratorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the generated pictures look like.

    `crowding` 0 keeps shapes apart, 1 lets half of the smaller one be covered; `noise` is the grain's
    standard deviation as a share of the full scale; `size_px` bounds the longer side of a shape's box.
    """

    train: int = 240
    val: int = 80
    side_px: int = 96
    classes: tuple[str, ...] = ("circle", "square", "triangle")
    objects: tuple[int, int] = (1, 4)
    size_px: tuple[int, int] = (14, 44)
    crowding: float = 0.0
    noise: float = 0.03
    lines: int = 2
    seed: int = 0


class Stamp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a generated folder was made from, and the hash of everything in it."""

    version: int
    settings: GeneratorSettings
    content: str


def generate(folder: Path, settings: GeneratorSettings) -> None:
    """Write the data set into `folder`, whole or not at all; a folder that holds it already is kept.

    Raises: UsageError for settings out of range; DataError when `folder` holds something else;
      ResourceError when it cannot be written.
    """
    check_settings(settings)
    if _is_complete(folder, settings):
        return
    if folder.exists() and any(folder.iterdir()) and not (folder / STAMP).exists():
        raise DataError(
            folder, "", "generated-folder-taken", "holds files that were not generated", "name another folder"
        )
    work = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        for split, count in (("train", settings.train), ("val", settings.val)):
            _write_split(work, split, count=count, settings=settings)
        stamp = Stamp(version=VERSION, settings=settings, content=_content_hash(work))
        (work / STAMP).write_bytes(msgspec.json.encode(stamp))
        if folder.exists() and not _is_complete(folder, settings):  # ours, but of other settings or damaged
            shutil.rmtree(folder)
        os.rename(work, folder)
    except OSError as error:
        if not _is_complete(folder, settings):  # else another process was faster
            reason = error.strerror or str(error)
            message = f"{folder}: generated data cannot be written: {reason}; name another cache folder"
            raise ResourceError(message) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def check_settings(settings: GeneratorSettings) -> None:
    """Raise UsageError for the first setting that cannot be drawn."""
    low, high = settings.size_px
    rules = (
        (settings.train >= 1 and settings.val >= 1, "train and val must be >= 1"),
        (32 <= settings.side_px <= 2048, "side_px must lie in 32..2048"),
        (8 <= low <= high <= settings.side_px - 4, "size_px must rise from >= 8 to <= side_px - 4"),
        (0 <= settings.objects[0] <= settings.objects[1] <= 100, "objects must rise within 0..100"),
        (settings.objects[1] >= 1, "objects must allow at least one"),
        (0 <= settings.crowding <= 1, "crowding must lie in 0..1"),
        (0 <= settings.noise <= 0.5, "noise must lie in 0..0.5"),
        (0 <= settings.lines <= 100, "lines must lie in 0..100"),
        (len(set(settings.classes)) == len(settings.classes) >= 1, "classes must be distinct"),
        (set(settings.classes) <= set(shapes.CLASSES), f"classes must be among {', '.join(shapes.CLASSES)}"),
    )
    for holds, rule in rules:
        if not holds:
            raise UsageError(f"generated data: {rule}; settings are {settings}")


def draw_picture(settings: GeneratorSettings, rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[shapes.Drawn]]:
    """Draw one picture (side, side, 3) and say what is in it."""
    side = settings.side_px
    low, high = settings.size_px
    picture = shapes.ground(side, settings.noise, rng=rng)
    shapes.scratch(picture, int(rng.integers(0, settings.lines + 1)), rng=rng)
    owner = np.full((side, side), -1, np.int64)  # the shape that is seen at each pixel
    boxes: list[Box] = []
    labels: list[int] = []
    totals: list[int] = []
    for _ in range(int(rng.integers(settings.objects[0], settings.objects[1] + 1))):
        label = int(rng.integers(len(settings.classes)))
        size = float(low * (high / low) ** rng.random())  # as many small ones as large ones
        cover = shapes.mask(settings.classes[label], size, angle=float(rng.uniform(0, 2 * np.pi)))
        solid = cover >= 0.5
        for _ in range(TRIES):
            x, y = (int(v) for v in rng.integers(0, side - cover.shape[0] + 1, 2))
            box = _bounds(solid, x, y)
            beneath = owner[y : y + cover.shape[0], x : x + cover.shape[0]]
            if any(_overlap(box, other) > 0.02 + 0.48 * settings.crowding for other in boxes):
                continue
            after = owner.copy()
            after[y : y + cover.shape[0], x : x + cover.shape[0]][solid] = len(boxes)
            if np.all(_visible(after, len(boxes)) >= LEAST_VISIBLE * np.array(totals)):
                shapes.paint(picture, cover, corner=(x, y), rng=rng)
                beneath[solid] = len(boxes)
                boxes.append(box)
                labels.append(label)
                totals.append(int(solid.sum()))
                break
    seen = _visible(owner, len(boxes))
    drawn = [shapes.Drawn(label, box, int(n)) for label, box, n in zip(labels, boxes, seen, strict=True)]
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8), drawn


def _bounds(solid: NDArray[np.bool_], x: int, y: int) -> Box:
    """Return the box (x, y, w, h) of the pixels of `solid` when its corner lies at (x, y)."""
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    return (
        x + int(columns[0]),
        y + int(rows[0]),
        int(columns[-1] - columns[0]) + 1,
        int(rows[-1] - rows[0]) + 1,
    )


def _visible(owner: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return how many pixels are seen of each of the first `count` shapes."""
    return np.bincount(owner[owner >= 0], minlength=count)[:count]


def _overlap(a: Box, b: Box) -> float:
    """Return the share of the smaller box that the other one covers."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height) / min(a[2] * a[3], b[2] * b[3])


def _write_split(work: Path, split: str, *, count: int, settings: GeneratorSettings) -> None:
    """Write the pictures of one split and the COCO file that describes them."""
    (work / split).mkdir()
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    side = settings.side_px
    for index in range(count):
        pixels, drawn = draw_picture(settings, keyed_rng(settings.seed, f"generate-{split}", index=index))
        name = f"{index:06d}.png"
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        (work / split / name).write_bytes(buffer.getvalue())
        images.append({"id": index + 1, "file_name": name, "width": side, "height": side})
        for shape in drawn:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": shape.label + 1,
                    "bbox": shape.box,
                    "area": shape.area,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(settings.classes)]
    (work / "annotations").mkdir(exist_ok=True)
    document = {"images": images, "annotations": annotations, "categories": categories}
    (work / "annotations" / f"instances_{split}.json").write_bytes(msgspec.json.encode(document))


def _content_hash(folder: Path) -> str:
    """Return the SHA-256 over the names and bytes of all files in `folder` but the stamp."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != STAMP):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _is_complete(folder: Path, settings: GeneratorSettings) -> bool:
    """Tell whether `folder` holds exactly what these settings give."""
    try:
        stamp = msgspec.json.decode((folder / STAMP).read_bytes(), type=Stamp)
    except (OSError, msgspec.MsgspecError):
        return False
    return (stamp.version, stamp.settings) == (VERSION, settings) and stamp.content == _content_hash(folder)
