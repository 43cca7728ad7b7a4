"""Pictures and boxes move together, and boxes stay inside."""

import numpy as np
import pytest
import torch

from spnas.data.transforms import (
    FLIP_ONLY,
    MEAN,
    MILD,
    STD,
    Augment,
    Resize,
    Sample,
    colour_matrix,
    flip,
    sanitise,
    vary,
    write_normalised,
    zoom,
)

PLAIN = Augment(flip=0, short=(1, 1), scale=(1, 1), brightness=0, contrast=0, saturation=0)


def sample(boxes: list[list[float]], width: int = 40, height: int = 30, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    return Sample(
        rng.integers(0, 256, (height, width, 3), np.uint8),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.arange(len(boxes)),
        np.zeros(len(boxes), bool),
        (1.0, 1.0),
    )


def marked(box: tuple[int, int, int, int], width: int = 40, height: int = 30) -> Sample:
    """A black picture that is white in its only box."""
    made = sample([list(box)], width, height)
    pixels = np.zeros_like(made.pixels)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    return made._replace(pixels=pixels)


def lit(made: Sample) -> np.ndarray:
    rows, columns = np.nonzero(made.pixels[:, :, 0] > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize(
    ("rule", "given", "expected"),
    [
        (Resize(None, 320), (640, 480), (320, 240)),
        (Resize(None, 320), (480, 640), (240, 320)),
        (Resize(None, 128), (96, 96), (128, 128)),
        (Resize(800, 1333), (640, 480), (1067, 800)),
        (Resize(800, 1333), (1000, 300), (1333, 400)),
        (Resize(None, 100), (10_000, 3), (100, 1)),
    ],
)
def test_resizing_keeps_the_aspect_within_both_limits(
    rule: Resize, given: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert rule.target(*given) == expected


def test_flipping_twice_is_no_change() -> None:
    before = sample([[3, 4, 13, 14], [0, 0, 40, 30]])
    after = flip(flip(before))
    assert np.array_equal(after.pixels, before.pixels)
    assert np.array_equal(after.boxes, before.boxes)


@pytest.mark.parametrize("grow", [0.5, 0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.2, 0.9)])
def test_boxes_stay_on_what_they_enclose(grow: float, place: tuple[float, float]) -> None:
    after = zoom(marked((16, 12, 26, 20)), grow, place=place)
    assert after.pixels.shape == (30, 40, 3)
    assert np.abs(after.boxes[0] - lit(after)).max() <= 1.0
    mirrored = flip(after)
    assert np.abs(mirrored.boxes[0] - lit(mirrored)).max() <= 1.0


@pytest.mark.parametrize("grow", [0.5, 0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("frame", [(32, 24), (40, 30), (50, 37)])
def test_a_picture_is_zoomed_into_another_frame_in_one_step(grow: float, frame: tuple[int, int]) -> None:
    before = marked((16, 12, 26, 20))
    after = zoom(before, grow, place=(0.3, 0.6), frame=frame)
    assert after.pixels.shape == (frame[1], frame[0], 3)
    assert np.abs(after.boxes[0] - lit(after)).max() <= 1.3
    where = zoom(before, grow, place=(0.3, 0.6)).boxes * np.array([frame[0] / 40, frame[1] / 30] * 2)
    assert np.abs(after.boxes - where).max() <= 1.5  # the smaller picture lies on whole pixels


def test_what_is_hardly_seen_is_ignored_and_what_is_gone_is_dropped() -> None:
    #                     whole        half: kept    a fifth: ignored  a twentieth: dropped   outside: dropped
    boxes = [[0, 0, 20, 20], [30, 0, 50, 20], [36, 0, 56, 20], [39, 0, 59, 20], [45, 0, 65, 20]]
    after = sanitise(sample(boxes))
    assert after.labels.tolist() == [0, 1, 2]
    assert after.ignore.tolist() == [False, False, True]
    assert after.boxes[1].tolist() == [30, 0, 40, 20]


def test_an_ignored_box_stays_ignored() -> None:
    after = sanitise(sample([[1, 1, 9, 9]])._replace(ignore=np.array([True])))
    assert after.ignore.tolist() == [True]


@pytest.mark.parametrize("seed", range(30))
def test_boxes_never_leave_the_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 1, (12, 2, 2)) * np.array([40, 30])
    boxes = np.concatenate((corners.min(axis=1), corners.max(axis=1) + 0.01), axis=1).clip(0, [40, 30, 40, 30])
    after = vary(sample(boxes.tolist()), Augment(scale=(0.4, 2.5)), rng=rng)
    assert (after.boxes >= 0).all()
    assert (after.boxes <= [40, 30, 40, 30]).all()
    assert (after.boxes[:, 2:] - after.boxes[:, :2] >= 1).all()
    assert len(after.boxes) == len(after.labels) == len(after.ignore)


def test_a_picture_without_boxes_passes_through_everything() -> None:
    assert vary(sample([]), Augment(scale=(0.5, 0.9)), rng=np.random.default_rng(0)).boxes.shape == (0, 4)


def test_switched_off_augmentation_changes_nothing() -> None:
    before, rng = sample([[3, 4, 13, 14]]), np.random.default_rng(0)
    after = vary(before, PLAIN, rng=rng)
    assert after.pixels is before.pixels
    assert np.allclose(colour_matrix(PLAIN, rng), np.eye(3, 4))
    assert np.allclose(colour_matrix(FLIP_ONLY, rng), np.eye(3, 4))


def test_settings_do_not_change_how_many_numbers_are_drawn() -> None:
    left = []
    for settings in (PLAIN, FLIP_ONLY, MILD):
        rng = np.random.default_rng(0)
        vary(sample([[3, 4, 13, 14]]), settings, rng=rng)
        colour_matrix(settings, rng)
        left.append(rng.random())
    assert len(set(left)) == 1


def test_normalising_is_imagenets_and_no_change_of_colours_is_the_identity() -> None:
    pixels = sample([]).pixels
    plain, changed = torch.zeros(3, 30, 40), torch.zeros(3, 30, 40)
    write_normalised(pixels, plain)
    write_normalised(pixels, changed, colours=np.eye(3, 4, dtype=np.float32))
    expected = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    assert np.abs(plain.numpy() - expected.transpose(2, 0, 1)).max() < 1e-5
    assert torch.allclose(plain, changed, atol=1e-5)


def test_changed_colours_stay_colours() -> None:
    rng, pixels, out = np.random.default_rng(1), sample([]).pixels, torch.zeros(3, 30, 40)
    for _ in range(20):
        write_normalised(pixels, out, colours=colour_matrix(Augment(brightness=0.9, contrast=0.9, saturation=0.9), rng))
        back = out.numpy() * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]
        assert back.min() >= -1e-5
        assert back.max() <= 1 + 1e-5


def test_grey_stays_grey_when_saturation_changes() -> None:
    matrix = colour_matrix(Augment(brightness=0, contrast=0, saturation=0.9), np.random.default_rng(2))
    assert np.allclose(matrix[:, :3] @ np.full(3, 0.4), 0.4, atol=1e-6)
