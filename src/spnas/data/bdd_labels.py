"""The records of BDD100K's label files, of 2018 and of 2020, and what their categories mean."""

import re
from collections.abc import Iterator

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from spnas.data.raw import UNKNOWN
from spnas.data.records import CROWD, IGNORED, OCCLUDED, TRUNCATED
from spnas.data.source import SourceText, decode_json
from spnas.errors import DataError, escape

CLASSES = (
    "pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle", "traffic light", "traffic sign",
)  # fmt: skip
OLD_NAMES = {"bike": "bicycle", "motor": "motorcycle", "person": "pedestrian"}
NOT_JUDGED = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
EXPECTED = "a list of frames, each with name and labels"
OF_A_VIDEO = re.compile(r"([0-9a-f]{8}-[0-9a-f]{8})(-\d+)?")  # how the benchmark names pictures
Said = bool | int | str | None  # attributes are true, 1 or "true", by the tool that wrote them


class Box(msgspec.Struct, gc=False):
    """Corners in pixels."""

    x1: float | None = None
    y1: float | None = None
    x2: float | None = None
    y2: float | None = None


class Attributes(msgspec.Struct, gc=False):
    """What is said of a label; some tools write the names with a capital."""

    occluded: Said = None
    truncated: Said = None
    crowd: Said = None
    ignored: Said = None
    occluded_: Said = msgspec.field(name="Occluded", default=None)
    truncated_: Said = msgspec.field(name="Truncated", default=None)
    crowd_: Said = msgspec.field(name="Crowd", default=None)
    ignored_: Said = msgspec.field(name="Ignored", default=None)


class Label(msgspec.Struct):
    """One labelled thing; only those with a box matter here."""

    category: str
    box2d: Box | UnsetType | None = UNSET
    attributes: Attributes | None = None


class Size(msgspec.Struct, gc=False):
    """Width and height of a picture, which newer files state."""

    width: float
    height: float


class Moment(msgspec.Struct):
    """One of a video's frames in a 2018 file of its own; its labels are called objects."""

    objects: list[Label] | None = None


class Frame(msgspec.Struct):
    """One picture."""

    name: str
    labels: list[Label] | UnsetType | None = UNSET
    frames: list[Moment] | None = None
    size: Size | None = None
    video: Said = msgspec.field(name="videoName", default=None)


class Frames(msgspec.Struct):
    """A file of frames together with how they came about."""

    frames: list[Frame]


def is_bdd(start: bytes) -> bool:
    """Tell by its first bytes whether a JSON file holds frames: a list, or an object that names them."""
    return start.startswith(b"[") or (b'"frames"' in start and b'"images"' not in start)


def read_frames(source: SourceText) -> list[Frame]:
    """Decode a file of many pictures.

    Raises: DataError where it is not one.
    """
    if source.data.lstrip().startswith(b"["):
        return decode_json(source, list[Frame], expected=EXPECTED)
    return decode_json(source, Frames, expected=EXPECTED).frames


def read_frame(source: SourceText) -> Frame:
    """Decode a 2018 file of one picture; its name lacks a suffix.

    Raises: DataError where it is not one, or holds several moments.
    """
    frame = decode_json(source, Frame, expected="an object with name and frames")
    if len(frame.frames or []) > 1:
        raise DataError(
            escape(str(source.path)),
            "frames",
            "bdd-frames",
            f"holds {len(frame.frames or [])} frames; a picture has one",
            "write one file per picture",
        )
    return frame


def labels_of(frame: Frame) -> Iterator[Label]:
    """Yield a picture's labels, wherever the layout has them."""
    if isinstance(frame.labels, list):
        yield from frame.labels
    for moment in frame.frames or ():
        yield from moment.objects or ()


def video_of(frame: Frame) -> str:
    """Return the video that a picture is from: as stated, else by its name; "" when neither tells."""
    if isinstance(frame.video, str) and frame.video:
        return frame.video
    named = OF_A_VIDEO.fullmatch(frame.name.rpartition("/")[2].partition(".")[0])
    return named[1] if named else ""


def keys_held(frames: list[Frame]) -> dict[str, int]:
    """Return how many records hold each of the keys that matter, to find one that stands twice."""
    labels = [label for frame in frames for label in labels_of(frame)]
    boxes = [label.box2d for label in labels if isinstance(label.box2d, Box)]
    held = {"name": len(frames), "category": len(labels)}
    held["labels"] = sum(frame.labels is not UNSET for frame in frames)
    held["box2d"] = sum(label.box2d is not UNSET for label in labels)
    return held | {key: sum(getattr(box, key) is not None for box in boxes) for key in ("x1", "y1", "x2", "y2")}


def class_of(category: str) -> tuple[int, int]:
    """Return the class, or UNKNOWN, and the flags that a category brings with it."""
    name = OLD_NAMES.get(category, category)
    if name in NOT_JUDGED:
        return CLASSES.index(NOT_JUDGED[name]), IGNORED
    return (CLASSES.index(name) if name in CLASSES else UNKNOWN), 0


def flags_of(attributes: Attributes | None) -> int:
    """Return the flags that a label's attributes set."""
    if attributes is None:
        return 0
    a = attributes
    flags = CROWD if _true(a.crowd) or _true(a.crowd_) else 0
    flags |= IGNORED if _true(a.ignored) or _true(a.ignored_) else 0
    flags |= OCCLUDED if _true(a.occluded) or _true(a.occluded_) else 0
    return flags | (TRUNCATED if _true(a.truncated) or _true(a.truncated_) else 0)


def corners_of(box: Box) -> tuple[float, float, float, float] | None:
    """Return x1, y1, x2, y2, or None when one is missing."""
    if box.x1 is None or box.y1 is None or box.x2 is None or box.y2 is None:
        return None
    return (box.x1, box.y1, box.x2, box.y2)


def size_of(frame: Frame) -> tuple[float, float]:
    """Return the stated width and height, NaN where there are none."""
    return (np.nan, np.nan) if frame.size is None else (frame.size.width, frame.size.height)


def _true(said: Said) -> bool:
    return said in (True, 1) or (isinstance(said, str) and said.strip().lower() in ("true", "1", "yes"))
