import numpy as np
import pytest

from spnas.rng import digest, rng, torch_seed

KEYS = [
    (0, "a", 0, 0, 0),
    (1, "a", 0, 0, 0),
    (0, "b", 0, 0, 0),
    (0, "a", 1, 0, 0),
    (0, "a", 0, 1, 0),
    (0, "a", 0, 0, 1),
]


def test_the_same_key_gives_the_same_numbers_today_and_tomorrow() -> None:
    assert rng(0, "order", 1, 2, 3).integers(1000, size=4).tolist() == [129, 540, 56, 247]


@pytest.mark.parametrize("key", KEYS[1:])
def test_every_part_of_a_key_counts(key: tuple[int, str, int, int, int]) -> None:
    assert not np.array_equal(rng(*key).random(4), rng(*KEYS[0]).random(4))
    assert torch_seed(*key) != torch_seed(*KEYS[0])


def test_parts_of_a_key_do_not_run_together() -> None:
    assert digest(1, "23") != digest(12, "3")
    assert digest(1) != digest("1")
    assert 0 <= torch_seed(0, "a") < 2**63
