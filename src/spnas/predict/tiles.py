"""Large pictures of small objects: cut into tiles that overlap, and what is found in them merged."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spnas.errors import UsageError

OVERLAP = 4  # tiles overlap by a fourth of their side if nothing else is said
SMALLEST = 32

Boxes = NDArray[np.float64]


class Tiling(NamedTuple):
    """Side of a tile, and by how much neighbours overlap at least, in pixels of the picture."""

    side: int
    overlap: int

    @property
    def margin(self) -> float:
        """How near to a tile's border a box ends that is taken to go on behind it."""
        return min(self.side / 64, self.overlap / 8)


class Tile(NamedTuple):
    """A part of a picture, in its pixels."""

    x1: int
    y1: int
    x2: int
    y2: int


class Seen(NamedTuple):
    """What was found in one tile: boxes (K, 4) xyxy in pixels of the picture, scores (K,), labels (K,)."""

    tile: Tile
    boxes: Boxes
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]


def tiling_of(tile: int | tuple[int, int] | None) -> Tiling | None:
    """Return what a side, or (side, overlap), means. Raises: UsageError when it cannot be meant."""
    if tile is None:
        return None
    side, overlap = tile if isinstance(tile, tuple) else (tile, tile // OVERLAP)
    if side < SMALLEST:
        raise UsageError(f"tile {side}: the side of a tile must be at least {SMALLEST} pixels; 640 is a common one")
    if not 0 <= overlap <= side // 2:
        raise UsageError(
            f"tile {side}, overlap {overlap}: the overlap must be from 0 to {side // 2} pixels, half a tile"
        )
    return Tiling(side, overlap)


def cut(width: int, height: int, tiling: Tiling | None) -> list[Tile]:
    """Return the whole picture, and, if it is larger than a tile, tiles of equal size that cover it evenly.

    Whatever is no larger than the overlap lies whole in one of them.
    """
    whole = [Tile(0, 0, width, height)]
    if tiling is None or max(width, height) <= tiling.side:
        return whole
    wide, tall = min(width, tiling.side), min(height, tiling.side)
    lefts, tops = _starts(width, tiling), _starts(height, tiling)
    return whole + [Tile(x, y, x + wide, y + tall) for y in tops for x in lefts]


def _starts(length: int, tiling: Tiling) -> list[int]:
    """Return where tiles begin along one side of a picture, at most `side - overlap` apart."""
    if length <= tiling.side:
        return [0]
    gaps = -(-(length - tiling.side) // (tiling.side - tiling.overlap))
    return [(length - tiling.side) * i // gaps for i in range(gaps + 1)]


def merge(seen: Sequence[Seen], size: tuple[int, int], *, threshold: float, margin: float) -> Seen:
    """Return what was found in a picture of `size` (width, height) once, best first, with no tile's border in sight.

    Boxes that no inner border of their tile cuts are suppressed class by class, as in the detector itself. One that
    is cut is dropped in favour of an uncut one that looks the same from within its tile, to which it leaves its score
    if that is higher; those that nobody saw whole are suppressed among themselves. What is smaller than the overlap by
    more than two margins is seen uncut by some tile.
    """
    whole = Tile(0, 0, *size)
    if len(seen) == 1:
        return seen[0]
    boxes = np.concatenate([one.boxes for one in seen])
    scores = np.concatenate([one.scores for one in seen])
    labels = np.concatenate([one.labels for one in seen])
    tiles = np.repeat(np.array([one.tile for one in seen], np.float64), [len(one.scores) for one in seen], axis=0)
    is_cut = _is_cut(boxes, tiles, whole, margin)
    kept: list[int] = []
    for label in np.unique(labels).tolist():
        mine = np.flatnonzero((labels == label) & ~is_cut)
        uncut = mine[suppress(boxes[mine], scores[mine], threshold)]
        orphans = []
        for row in np.flatnonzero((labels == label) & is_cut).tolist():
            alike = overlaps(boxes[row], _clip(boxes[uncut], tiles[row]))
            if alike.max(initial=0.0) < threshold:
                orphans.append(row)
                continue
            heir = uncut[alike.argmax()]
            scores[heir] = max(scores[heir], scores[row])
        rest = np.array(orphans, np.int64)
        kept += [*uncut.tolist(), *rest[suppress(boxes[rest], scores[rest], threshold)].tolist()]
    order = sorted(kept, key=lambda row: (-scores[row], row))
    return Seen(whole, boxes[order], scores[order], labels[order])


def _is_cut(boxes: Boxes, tiles: Boxes, whole: Tile, margin: float) -> NDArray[np.bool_]:
    """Tell which boxes (K, 4) reach a border of their tiles (K, 4) that is none of the picture."""
    inner = tiles != np.array(whole, np.float64)
    return np.asarray((inner & (np.abs(boxes - tiles) <= margin)).any(axis=1))


def _clip(boxes: Boxes, tile: NDArray[np.float64]) -> Boxes:
    """Return what a tile (4,) sees of boxes (K, 4)."""
    return np.concatenate([np.clip(boxes[:, i : i + 2], tile[:2], tile[2:]) for i in (0, 2)], axis=1)


def suppress(boxes: Boxes, scores: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """Return the rows of boxes (K, 4) that greedy non-maximum suppression keeps, best first."""
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[overlaps(boxes[best], boxes[order]) <= threshold]
    return np.array(kept, np.int64)


def overlaps(box: NDArray[np.float64], boxes: Boxes) -> NDArray[np.float64]:
    """Return the intersection over union of one box (4,) with each of boxes (K, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - shared
    return np.asarray(shared / np.maximum(union, 1e-9))
