"""The records of EuroCity Persons' label files, and what their identities and tags mean."""

import re

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from spnas.data.raw import UNKNOWN
from spnas.data.records import BEHIND_GLASS, DEPICTION, IGNORED, OCCLUDED, OTHER_TAG, SITTING_LYING, TRUNCATED
from spnas.data.source import SourceText, decode_json
from spnas.errors import DataError, escape

CLASSES = ("pedestrian", "rider")
VEHICLES = ("bicycle", "buggy", "motorbike", "scooter", "tricycle", "wheelchair")
REGIONS = {
    "person-group-far-away": "pedestrian",
    "rider+vehicle-group-far-away": "rider",
    **{name: "rider" for vehicle in VEHICLES for name in (vehicle, f"{vehicle}-group")},
}
TAGS = {"sitting-lying": SITTING_LYING, "behind-glass": BEHIND_GLASS, "depiction": DEPICTION}
OF_A_SEQUENCE = re.compile(r"(.+_\d+)_\d+")
SHARES = ("occluded", "truncated")
DEEPEST = 8  # a vehicle of a rider of a frame is three


class Node(msgspec.Struct):
    """One labelled thing with the things that belong to it."""

    identity: str
    x0: float | None = None
    y0: float | None = None
    x1: float | None = None
    y1: float | None = None
    tags: list[str] | UnsetType | None = UNSET
    children: "list[Node] | UnsetType | None" = UNSET


class Frame(msgspec.Struct):
    """One picture."""

    identity: str
    imagewidth: float | None = None
    imageheight: float | None = None
    tags: list[str] | UnsetType | None = UNSET
    children: list[Node] | UnsetType | None = UNSET


class Thing(msgspec.Struct):
    """A node on its own: `path` is where it stands, `above` the position of the node it belongs to, or None."""

    node: Node
    path: str
    above: int | None


def read_frame(source: SourceText) -> Frame:
    """Decode one file.

    Raises: DataError where it is no frame.
    """
    frame = decode_json(source, Frame, expected="a frame with imagewidth, imageheight and children")
    if frame.identity != "frame":
        raise DataError(
            escape(str(source.path)),
            "identity",
            "ecp-root",
            f"the outermost identity is {escape(frame.identity)!r}",
            'expected "frame"; check that it is a label file',
        )
    return frame


def flatten(source: SourceText, frame: Frame) -> list[Thing]:
    """Return all nodes, every one behind the one it belongs to.

    Raises: DataError when they nest deeper than any annotation does.
    """
    found: list[Thing] = []
    level = [Thing(node, f"children[{i}]", None) for i, node in enumerate(frame.children or [])]
    for _ in range(DEEPEST):
        start = len(found)
        found += level
        level = [
            Thing(node, f"{thing.path}.children[{i}]", start + above)
            for above, thing in enumerate(level)
            for i, node in enumerate(thing.node.children or [])
        ]
        if not level:
            return found
    raise DataError(
        escape(str(source.path)), level[0].path, "json-too-deep", "children nest too deeply", "restore the file"
    )


def keys_held(frame: Frame, things: list[Thing]) -> dict[str, int]:
    """Return how many records hold each of the keys that matter, to find one that stands twice."""
    held = {key: sum(getattr(t.node, key) is not None for t in things) for key in ("x0", "y0", "x1", "y1")}
    size = {"imagewidth": int(frame.imagewidth is not None), "imageheight": int(frame.imageheight is not None)}
    holders = [frame, *(t.node for t in things)]
    lists = {key: sum(getattr(one, key) is not UNSET for one in holders) for key in ("tags", "children")}
    return held | size | lists | {"identity": len(holders)}


def class_of(identity: str) -> tuple[int, int]:
    """Return the class, or UNKNOWN, and the flags that an identity brings with it."""
    if identity in CLASSES:
        return CLASSES.index(identity), 0
    region = REGIONS.get(identity)
    return (UNKNOWN, 0) if region is None else (CLASSES.index(region), IGNORED)


def corners_of(node: Node) -> tuple[float, float, float, float] | None:
    """Return x1, y1, x2, y2, or None when one is missing."""
    if node.x0 is None or node.y0 is None or node.x1 is None or node.y1 is None:
        return None
    return (node.x0, node.y0, node.x1, node.y1)


def size_of(frame: Frame) -> tuple[float, float]:
    """Return the stated width and height, NaN where there are none."""
    width, height = frame.imagewidth, frame.imageheight
    return (np.nan, np.nan) if not width or not height else (width, height)


def sequence_of(stem: str) -> str:
    """Return the recording of a picture called CITY_SEQUENCE_FRAME; "" when it is just CITY_FRAME."""
    named = OF_A_SEQUENCE.fullmatch(stem)
    return named[1] if named else ""


def read_tags(tags: list[str] | UnsetType | None) -> tuple[int, float, float, int]:
    """Return flags, occlusion, truncation and tag bits; persons who are not simply there are not learned from."""
    shares = dict.fromkeys(SHARES, 0.0)
    bits = 0
    for tag in tags or []:
        name, _, percent = tag.partition(">")
        if name in shares and percent in ("10", "40", "80"):
            shares[name] = max(shares[name], int(percent) / 100)
        else:
            bits |= TAGS.get(tag, OTHER_TAG)
    flags = IGNORED if bits & (SITTING_LYING | BEHIND_GLASS | DEPICTION) else 0
    flags |= OCCLUDED if shares["occluded"] else 0
    flags |= TRUNCATED if shares["truncated"] else 0
    return flags, shares["occluded"], shares["truncated"], bits
