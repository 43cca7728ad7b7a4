"""Objects become pictures of one class each: the right pixels, and no picture on both sides."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from spnas.data.crops import FEWEST, object_crops, windows
from spnas.data.records import DIFFICULT, Annotations, DataSet
from spnas.data.squares import Squares, cut
from spnas.data.transforms import FILL
from spnas.errors import DataError

Box = tuple[float, float, float, float]


def annotations(
    root: Path,
    pictures: list[list[tuple[str, Box]]],
    *,
    classes: tuple[str, ...] = ("cat", "dog"),
    size: tuple[int, int] = (60, 40),
    flags: int = 0,
) -> Annotations:
    """Write pictures of noise and annotate them."""
    for index in range(len(pictures)):
        pixels = np.random.default_rng(index).integers(0, 255, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
    rows = [row for picture in pictures for row in picture]
    boxes = np.array([box for _, box in rows], np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    return Annotations(
        name="train",
        root=root,
        classes=classes,
        files=tuple(f"{i}.png" for i in range(len(pictures))),
        image_ids=tuple(range(len(pictures))),
        box_ids=tuple(range(len(rows))),
        category_ids=tuple(range(len(classes))),
        sizes=np.tile(np.array([size], np.int32), (len(pictures), 1)),
        first=np.cumsum([0, *map(len, pictures)]),
        boxes=boxes,
        labels=np.array([classes.index(name) for name, _ in rows], np.int64),
        flags=np.full(len(rows), flags, np.uint8),
        areas=sides.prod(axis=1),
    )


def window(box: Box, size: tuple[int, int] = (60, 40)) -> list[int]:
    return [int(v) for v in windows(np.array([box]), np.array([size], np.int32))[0]]


def test_a_window_is_a_square_with_context_inside_the_picture() -> None:
    """A quarter more than the longer side, at least 16 px; moved inside where it fits, centred where it does not."""
    assert window((20, 10, 36, 18)) == [18, 4, 38, 24]
    assert window((30, 20, 32, 22)) == [23, 13, 39, 29]
    assert window((0, 0, 16, 16)) == [0, 0, 20, 20]
    assert window((50, 30, 60, 40)) == [44, 24, 60, 40]
    assert window((10, 0, 50, 40)) == [5, -5, 55, 45]


def test_a_cut_has_the_pixels_of_its_window() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(cut(pixels, np.array([1, 2, 3, 4])), pixels[2:4, 1:3])
    beyond = cut(pixels, np.array([-1, -1, 7, 5]))
    assert np.array_equal(beyond[1:5, 1:7], pixels)
    assert (beyond[0] == FILL).all()
    assert (beyond[:, -1] == FILL).all()


def test_crops_show_the_objects_that_their_labels_name(tmp_path: Path) -> None:
    """White cats and black dogs of 8 px: the middle of every crop of 16 px is what its class says."""
    pictures: list[list[tuple[str, Box]]] = [[("cat", (4, 4, 12, 12)), ("dog", (40, 20, 48, 28))]] * 24
    known = annotations(tmp_path, pictures)
    for path in tmp_path.glob("*.png"):
        pixels = np.asarray(Image.open(path)).copy()
        pixels[4:12, 4:12], pixels[20:28, 40:48] = 255, 0
        Image.fromarray(pixels).save(path)
    data = object_crops(known, fingerprint="x")
    assert data.train.classes == ("cat", "dog")
    assert len(data.train) + len(data.val) == 48
    for part in (data.train, data.val):
        squares = Squares(part, 16)
        for index, label in enumerate(part.labels.tolist()):
            assert squares.pixels(index).shape == (16, 16, 3)
            assert (squares.pixels(index)[4:12, 4:12] == (0 if label else 255)).all()
    assert not set(data.train.files) & set(data.val.files)


def test_crops_are_the_same_every_time_and_hang_on_the_data(tiny: DataSet) -> None:
    first, again, other = (object_crops(tiny.train, fingerprint=text) for text in ("x", "x", "y"))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.train.cuts is not None
    assert again.train.cuts is not None
    assert np.array_equal(first.train.cuts, again.train.cuts)
    assert not set(first.train.files) & set(first.val.files)


def test_rare_classes_are_left_out_with_a_note_and_ignore_regions_without(tmp_path: Path) -> None:
    common: list[tuple[str, Box]] = [("cat", (4, 4, 14, 14)), ("dog", (40, 20, 50, 30))]
    pictures = [[*common, ("eel", (20, 4, 30, 14))] if index < 3 else common for index in range(20)]
    data = object_crops(annotations(tmp_path, pictures, classes=("cat", "dog", "eel")), fingerprint="x")
    assert data.train.classes == data.val.classes == ("cat", "dog")
    assert data.notes == (f"class 'eel' is left out: 3 objects to learn from, at least {FEWEST} are needed",)
    ignored = annotations(tmp_path, pictures, classes=("cat", "dog", "eel"), flags=DIFFICULT)
    with pytest.raises(DataError, match=r"cannot be divided"):
        object_crops(ignored, fingerprint="x")


def touching(crops: NDArray[np.int64], boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which crops (K,) share area with any of the boxes."""
    corner = np.maximum(crops[:, None, :2], boxes[None, :, :2])
    sides = np.minimum(crops[:, None, 2:], boxes[None, :, 2:]) - corner
    return np.asarray(np.any(np.all(sides > 0, axis=2), axis=1))


def test_one_class_gets_background_beside_it_that_touches_no_object(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    corners = rng.integers(0, 20, (30, 2)).tolist()
    pictures: list[list[tuple[str, Box]]] = [[("cat", (x, y, x + 12, y + 12))] for x, y in corners]
    known = annotations(tmp_path, pictures, classes=("cat",))
    data = object_crops(known, fingerprint="x")
    assert data.train.classes == ("cat", "background")
    assert "one class only" in data.notes[0]
    for part in (data.train, data.val):
        assert part.cuts is not None
        assert part.counts[0] >= part.counts[1] >= 0.9 * part.counts[0]
        for index, name in enumerate(part.files):
            hit = touching(part.cuts[[index]], known.boxes[known.rows(known.files.index(name))])
            assert hit[0] == (part.labels[index] == 0)
            assert (part.cuts[index] >= 0).all()
            assert (part.cuts[index].reshape(2, 2) <= (60, 40)).all()


def test_what_is_too_little_is_refused(tmp_path: Path) -> None:
    few = annotations(tmp_path, [[("cat", (4, 4, 14, 14))]] * 5, classes=("cat",))
    with pytest.raises(DataError, match=r"no class has 10 objects in \d pictures to learn from.*\[no-boxes\]"):
        object_crops(few, fingerprint="x")
    full = annotations(tmp_path, [[("cat", (0, 0, 60, 40))]] * 20, classes=("cat",))
    with pytest.raises(DataError, match=r"crops to learn from, and none of background; .*\[too-few-pictures\]"):
        object_crops(full, fingerprint="x")
