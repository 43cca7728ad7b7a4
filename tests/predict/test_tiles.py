"""Tiles cover a picture, and what is found in them is found once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import nms

from spnas.errors import UsageError
from spnas.predict.tiles import Seen, Tile, Tiling, cut, merge, suppress, tiling_of

sides = st.integers(1, 400)


@st.composite
def tilings(draw: st.DrawFn) -> Tiling:
    side = draw(st.integers(32, 200))
    return Tiling(side, draw(st.integers(0, side // 2)))


@given(width=sides, height=sides, tiling=tilings(), place=st.tuples(*[st.integers(0, 1000)] * 4))
@settings(max_examples=200, deadline=None)
def test_what_is_no_larger_than_the_overlap_lies_whole_in_a_tile(
    width: int, height: int, tiling: Tiling, place: tuple[int, int, int, int]
) -> None:
    """Tiles are of one size, inside of the picture, and leave nothing out."""
    whole, *tiles = cut(width, height, tiling)
    assert whole == (0, 0, width, height)
    if max(width, height) <= tiling.side:
        assert tiles == []
        return
    assert {(t.x2 - t.x1, t.y2 - t.y1) for t in tiles} == {(min(width, tiling.side), min(height, tiling.side))}
    covered = np.zeros((height, width), np.bool_)
    for t in tiles:
        assert 0 <= t.x1 < t.x2 <= width
        assert 0 <= t.y1 < t.y2 <= height
        covered[t.y1 : t.y2, t.x1 : t.x2] = True
    assert covered.all()
    w, h = (part / 1000 * min(tiling.overlap, side) for part, side in zip(place[:2], (width, height), strict=True))
    x, y = place[2] / 1000 * (width - w), place[3] / 1000 * (height - h)
    assert any(t.x1 <= x and t.y1 <= y and x + w <= t.x2 and y + h <= t.y2 for t in tiles)


def look(tile: Tile, truth: np.ndarray, labels: np.ndarray) -> Seen:
    """A detector that finds all that a tile shows of the true boxes, and is the surer the more it sees."""
    shown = np.concatenate([np.clip(truth[:, i : i + 2], tile[:2], tile[2:]) for i in (0, 2)], axis=1)
    areas = np.prod(shown[:, 2:] - shown[:, :2], axis=1)
    seen = areas > 0
    scores = 0.5 + 0.5 * areas / np.prod(truth[:, 2:] - truth[:, :2], axis=1)
    return Seen(tile, shown[seen], scores[seen], labels[seen])


@given(
    width=st.integers(100, 400),
    height=st.integers(100, 400),
    side=st.integers(32, 120),
    seed=st.integers(0, 2**31),
    largest=st.sampled_from(("overlap", "picture")),
)
@settings(max_examples=100, deadline=None)
def test_objects_across_borders_are_found_once_and_whole(
    width: int, height: int, side: int, seed: int, largest: str
) -> None:
    """Those smaller than the overlap by tiles alone; larger ones by the look at the whole picture."""
    rng = np.random.default_rng(seed)
    tiling = Tiling(side, int(rng.integers(8, side // 2 + 1)))
    room = np.array((width, height))
    most = np.minimum(tiling.overlap - 2.01 * tiling.margin, room) if largest == "overlap" else room
    extent = rng.uniform(2, most, (12, 2))
    corner = rng.uniform(0, 1, (12, 2)) * (room - extent)
    truth, labels = np.concatenate((corner, corner + extent), axis=1), np.arange(12)
    tiles = cut(width, height, tiling)
    seen = [look(tile, truth, labels) for tile in tiles[1 if largest == "overlap" and len(tiles) > 1 else 0 :]]
    found = merge(seen, (width, height), threshold=0.5, margin=tiling.margin)
    order = np.argsort(found.labels)
    np.testing.assert_array_equal(found.labels[order], labels)
    np.testing.assert_allclose(found.boxes[order], truth)
    np.testing.assert_allclose(found.scores, 1)


LEFT, RIGHT, WHOLE = Tile(0, 0, 64, 64), Tile(32, 0, 96, 64), Tile(0, 0, 96, 64)


def one(tile: Tile, *rows: tuple[float, float, float, float, float], label: int = 0) -> Seen:
    table = np.array(rows, np.float64).reshape(-1, 5)
    return Seen(tile, table[:, :4], table[:, 4], np.full(len(table), label))


def merged(*seen: Seen) -> list[list[float]]:
    found = merge(seen, (96, 64), threshold=0.5, margin=1)
    return np.column_stack((found.boxes, found.scores)).tolist()


def test_a_cut_box_leaves_its_score_to_the_one_that_is_whole() -> None:
    """The left tile is sure of what it sees a part of; only the right one sees where it ends."""
    seen = one(LEFT, (50, 10, 64, 30, 0.9)), one(RIGHT, (50, 10, 80, 30, 0.6))
    assert merged(*seen) == [[50, 10, 80, 30, 0.9]]


def test_a_cut_box_leaves_its_score_to_the_one_that_looks_like_it() -> None:
    """And to no other of its class."""
    seen = one(LEFT, (50, 10, 64, 30, 0.9)), one(RIGHT, (40, 40, 60, 60, 0.7), (50, 10, 80, 30, 0.6))
    assert merged(*seen) == [[50, 10, 80, 30, 0.9], [40, 40, 60, 60, 0.7]]


def test_a_cut_box_of_another_class_is_no_part_of_it() -> None:
    seen = one(LEFT, (50, 10, 64, 30, 0.9), label=1), one(RIGHT, (50, 10, 80, 30, 0.6))
    assert len(merged(*seen)) == 2


def test_a_large_false_box_does_not_inherit_what_lies_in_it() -> None:
    """It does not look like the cut one from within the tile."""
    seen = one(WHOLE, (0, 0, 96, 64, 0.06)), one(LEFT, (50, 10, 64, 30, 0.9))
    assert merged(*seen) == [[50, 10, 64, 30, 0.9], [0, 0, 96, 64, 0.06]]


def test_a_cut_box_that_nobody_saw_whole_is_kept_once() -> None:
    """It goes on behind both borders; better a part of it than nothing."""
    seen = one(LEFT, (30, 10, 64, 30, 0.5)), one(RIGHT, (32, 10, 70, 30, 0.7))
    assert merged(*seen) == [[32, 10, 70, 30, 0.7]]


def test_boxes_at_the_border_of_the_picture_are_whole() -> None:
    seen = one(LEFT, (0, 0, 20, 20, 0.5)), one(RIGHT, (80, 40, 96, 64, 0.7))
    assert merged(*seen) == [[80, 40, 96, 64, 0.7], [0, 0, 20, 20, 0.5]]


def test_nothing_found_is_nothing() -> None:
    assert merged(one(WHOLE), one(LEFT), one(RIGHT)) == []


def test_suppression_is_that_of_the_detector() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        corner = rng.uniform(0, 60, (80, 2))
        boxes = np.concatenate((corner, corner + rng.uniform(5, 40, (80, 2))), axis=1)
        scores = rng.permutation(80) / 80
        theirs = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5).numpy()
        np.testing.assert_array_equal(suppress(boxes, scores, 0.5), theirs)


@pytest.mark.parametrize("tile", [0, -5, 31, (64, 33), (64, -1)])
def test_a_tiling_that_cannot_be_meant_is_refused(tile: int | tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="tile"):
        tiling_of(tile)


def test_tiles_overlap_by_a_fourth_if_nothing_is_said() -> None:
    assert tiling_of(640) == (640, 160)
    assert tiling_of((640, 64)) == (640, 64)
    assert tiling_of(None) is None
