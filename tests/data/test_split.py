"""Carving depends on the names alone."""

import numpy as np
import pytest

from spnas.data.generate import GeneratorSettings
from spnas.data.open import open_data
from spnas.data.records import Annotations
from spnas.data.split import carve, chosen
from spnas.errors import DataError


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Annotations:
    settings = GeneratorSettings(train=30, val=1, side_px=32, size_px=(8, 16))
    return open_data(None, generated=settings, cache=tmp_path_factory.mktemp("cache")).train


@pytest.mark.parametrize(("share", "expected"), [(0.2, 6), (0.5, 15), (0.0, 1), (1.0, 29), (0.001, 1)])
def test_the_share_is_met_and_no_side_is_empty(share: float, expected: int, pictures: Annotations) -> None:
    rest, carved = carve(pictures, share=share, seed=0)
    assert (len(rest), len(carved)) == (30 - expected, expected)
    assert set(rest.files) | set(carved.files) == set(pictures.files)
    assert len(rest.boxes) + len(carved.boxes) == len(pictures.boxes)


def test_order_does_not_matter_and_the_seed_does(pictures: Annotations) -> None:
    shuffled = pictures.select(np.random.default_rng(0).permutation(30), name="shuffled")
    ours, theirs = carve(pictures, share=0.3, seed=0)[1], carve(shuffled, share=0.3, seed=0)[1]
    assert sorted(ours.files) == sorted(theirs.files)
    assert sorted(carve(pictures, share=0.3, seed=1)[1].files) != sorted(ours.files)


def test_boxes_follow_their_pictures(pictures: Annotations) -> None:
    carved = carve(pictures, share=0.3, seed=0)[1]
    for index, name in enumerate(carved.files):
        before = pictures.files.index(name)
        assert np.array_equal(carved.boxes[carved.rows(index)], pictures.boxes[pictures.rows(before)])


def test_equal_keys_stay_together(pictures: Annotations) -> None:
    keys = [str(i // 3) for i in range(30)]
    mask = chosen(pictures, share=0.3, seed=0, keys=keys)
    assert mask.reshape(10, 3).all(axis=1).sum() == 3
    assert mask.sum() == 9


def test_one_picture_cannot_be_divided(pictures: Annotations) -> None:
    one = pictures.select(np.array([3]), name="one")
    with pytest.raises(DataError, match=r"1 picture\(s\), all alike, cannot be divided.*too-few-pictures"):
        carve(one, share=0.2, seed=0)
