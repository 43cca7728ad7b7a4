"""The four ways to write a box, and the suspicion that another one was meant."""

import numpy as np
import pytest

from spnas.data.conventions import corners, suspicion, written_sides

BOX = np.array([[10.0, 20, 30, 50]])  # x1 y1 x2 y2
WRITTEN = {
    "xyxy": [[10, 20, 30, 50]],
    "xywh": [[10, 20, 20, 30]],
    "centre xywh": [[20, 35, 20, 30]],
    "voc": [[11, 21, 30, 50]],
}


def boxes(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Corners of `count` boxes on pictures of 100 x 80, and the pictures' sizes."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.8, (count, 2)) * [100, 80]
    high = low + rng.uniform(0.05, 1, (count, 2)) * ([100, 80] - low)
    return np.concatenate((low, high), axis=1), np.tile([100.0, 80.0], (count, 1))


def write(box: np.ndarray, convention: str) -> np.ndarray:
    sides = box[:, 2:] - box[:, :2]
    if convention == "xywh":
        return np.concatenate((box[:, :2], sides), axis=1)
    if convention == "centre xywh":
        return np.concatenate((box[:, :2] + sides / 2, sides), axis=1)
    return box


@pytest.mark.parametrize("convention", WRITTEN)
def test_every_way_means_the_same_box(convention: str) -> None:
    numbers = np.array(WRITTEN[convention], np.float64)
    assert np.array_equal(corners(numbers, convention), BOX)
    assert written_sides(numbers, convention).tolist() == [[19, 29] if convention == "voc" else [20, 30]]


def test_a_corner_at_zero_stays_there_in_voc() -> None:
    assert corners(np.array([[0.0, 1, 5, 6]]), "voc").tolist() == [[0, 0, 5, 6]]


@pytest.mark.parametrize("convention", ["xywh", "xyxy", "voc"])
@pytest.mark.parametrize("seed", range(5))
def test_well_written_boxes_raise_no_suspicion(convention: str, seed: int) -> None:
    box, frames = boxes(300, seed)
    assert suspicion(write(box, convention), convention, frames=frames) is None


@pytest.mark.parametrize(
    ("written", "read"),
    [("xyxy", "xywh"), ("xywh", "xyxy"), ("xywh", "voc"), ("centre xywh", "xywh"), ("centre xywh", "voc")],
)
@pytest.mark.parametrize("seed", range(5))
def test_another_convention_is_recognised(written: str, read: str, seed: int) -> None:
    box, frames = boxes(300, seed)
    found = suspicion(write(box, written), read, frames=frames)
    assert found is not None
    assert found.startswith(f"looks like {written}: 100% of boxes would fit as {written}")


@pytest.mark.parametrize("convention", ["xywh", "xyxy"])
def test_normalised_boxes_are_recognised(convention: str) -> None:
    box, frames = boxes(20)
    found = suspicion(write(box, convention) / 100, convention, frames=frames)
    assert found is not None
    assert found.startswith("looks like normalised")


def test_a_few_bad_boxes_are_just_bad() -> None:
    box, frames = boxes(4)
    assert suspicion(box, "xywh", frames=frames) is None
    assert suspicion(np.zeros((0, 4)), "xywh", frames=np.zeros((0, 2))) is None


def test_sloppy_boxes_are_not_another_convention() -> None:
    box, frames = boxes(300)
    box[::4, 2:] += 15  # every fourth sticks out where it can
    assert suspicion(write(box, "xywh"), "xywh", frames=frames) is None
