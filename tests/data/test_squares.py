"""Batches of squares are functions of their key, and show what is in the files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.stripes import write_stripes

from spnas.data.folders import open_folders
from spnas.data.labelled import LabelledSet
from spnas.data.squares import AREA, RATIO, Squares, eval_squares, middle, random_frame, squares_of, train_squares
from spnas.data.transforms import MEAN, STD
from spnas.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> LabelledSet:
    return open_folders(write_stripes(tmp_path / "data", train=5, val=3))


def test_a_batch_is_a_function_of_its_key(data: LabelledSet) -> None:
    """Whatever was asked before, and whether pictures are kept or read again."""
    kept, forgetful = Squares(data.train, 32), Squares(data.train, 32, cache_bytes=0)
    for step in range(3):
        train_squares(kept, batch_size=4, step=step, seed=1)
    first, second = (train_squares(squares, batch_size=4, step=1, seed=1) for squares in (kept, forgetful))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.labels, second.labels)
    assert not torch.equal(first.images, train_squares(kept, batch_size=4, step=1, seed=2).images)


def test_every_epoch_shows_every_picture_once(data: LabelledSet) -> None:
    squares = Squares(data.train, 32)
    seen = [int(i) for step in range(5) for i in train_squares(squares, batch_size=4, step=step, seed=0).index]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_evaluation_shows_every_picture_as_it_is(data: LabelledSet) -> None:
    batches = list(eval_squares(squares_of(data, 32).val, batch_size=4))
    assert [len(b.images) for b in batches] == [4, 2]
    images = torch.cat([b.images for b in batches])
    back = images.permute(0, 2, 3, 1) * torch.tensor(STD) + torch.tensor(MEAN)
    files = np.stack([np.asarray(Image.open(data.val.path(i))) for i in range(6)])
    assert np.abs(back.numpy() * 255 - files).max() < 1e-3
    assert torch.cat([b.labels for b in batches])[:, 0].tolist() == data.val.labels.tolist()


def test_the_middle_of_a_long_picture_is_shown() -> None:
    assert middle(60, 40) == (10, 0, 50, 40)
    assert middle(40, 60) == (0, 10, 40, 50)


def test_training_crops_stay_in_the_picture_and_in_their_bounds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        left, top, right, bottom = random_frame(60, 50, rng=rng)
        assert 0 <= left < right <= 60
        assert 0 <= top < bottom <= 50
        width, height = right - left, bottom - top
        assert width * height <= 3000 * AREA[1] + 1e-6
        if width < 60 and height < 50:
            assert width * height >= 3000 * AREA[0] - 1e-6
            assert RATIO[0] - 1e-6 <= width / height <= RATIO[1] + 1e-6


def test_large_pictures_are_kept_small(tmp_path: Path) -> None:
    data = open_folders(write_stripes(tmp_path / "data", train=2, val=1, side=200))
    assert Squares(data.train, 32).pixels(0).shape == (40, 40, 3)


def test_a_picture_that_changed_is_named(data: LabelledSet) -> None:
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(data.train.path(0))
    with pytest.raises(DataError, match=r"000\.png: is now 9 x 8, it was 32 x 32.*\[picture-changed\]"):
        Squares(data.train, 32).pixels(0)
