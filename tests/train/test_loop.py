import copy
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors import safe_open
from torch import nn

from spnas.data.batches import Batch
from spnas.errors import IntegrityError
from spnas.train import loop
from spnas.train.loop import Diverged, TrainKey, train
from spnas.train.settings import TrainSettings

SETTINGS = TrainSettings(batch_size=4)
KEY = TrainKey(0, 0, "a")


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_same_key_gives_the_same_weights_bit_for_bit(detector: nn.Module, batch_of: Callable[[int], Batch]) -> None:
    twin, other = copy.deepcopy(detector), copy.deepcopy(detector)
    train(detector, batch_of, SETTINGS, steps=4, key=KEY)
    train(twin, batch_of, SETTINGS, steps=4, key=KEY)
    train(other, batch_of, SETTINGS, steps=4, key=TrainKey(1, 0, "a"))
    assert same(detector, twin)
    assert not same(detector, other)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_interrupted_training_goes_on_bit_for_bit(
    detector: nn.Module,
    batch_of: Callable[[int], Batch],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    optimizer: str,
) -> None:
    settings = msgspec.structs.replace(SETTINGS, optimizer=optimizer)
    whole, checkpoint = copy.deepcopy(detector), tmp_path / "training.safetensors"
    fresh = copy.deepcopy(detector)
    train(whole, batch_of, settings, steps=6, key=KEY)
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def broken(step: int) -> Batch:
        if step == 4:
            raise KeyboardInterrupt
        return batch_of(step)

    with pytest.raises(KeyboardInterrupt):
        train(detector, broken, settings, steps=6, key=KEY, checkpoint=checkpoint)
    asked: list[int] = []

    def counted(step: int) -> Batch:
        asked.append(step)
        return batch_of(step)

    train(fresh, counted, settings, steps=6, key=KEY, checkpoint=checkpoint)
    assert asked == [4, 5]
    assert same(fresh, whole)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_training_in_parts_ends_as_one_in_one_go(
    detector: nn.Module, batch_of: Callable[[int], Batch], tmp_path: Path, optimizer: str
) -> None:
    settings = msgspec.structs.replace(SETTINGS, optimizer=optimizer)
    whole, checkpoint, rates = copy.deepcopy(detector), tmp_path / "training.safetensors", []
    train(whole, batch_of, settings, steps=6, key=KEY)
    for until in (2, 2, 5, None):
        asked: list[int] = []
        part = copy.deepcopy(detector)
        train(
            part,
            lambda step, asked=asked: asked.append(step) or batch_of(step),  # type: ignore[misc, func-returns-value]
            settings,
            steps=6,
            key=KEY,
            checkpoint=checkpoint,
            until=until,
        )
        rates.append(asked)
        assert same(part, whole) is (until is None)
    assert rates == [[0, 1], [], [2, 3, 4], [5]]


def test_the_schedule_of_a_part_is_that_of_the_whole_and_its_weights_are_the_averaged_ones(
    detector: nn.Module, batch_of: Callable[[int], Batch], tmp_path: Path
) -> None:
    twin, short = copy.deepcopy(detector), copy.deepcopy(detector)
    checkpoint = tmp_path / "training.safetensors"
    train(detector, batch_of, SETTINGS, steps=6, key=KEY, checkpoint=checkpoint, until=3)
    train(short, batch_of, SETTINGS, steps=3, key=KEY)
    assert not same(detector, short)
    train(twin, batch_of, SETTINGS, steps=6, key=KEY, until=3)  # without a checkpoint as well
    assert same(detector, twin)
    with safe_open(checkpoint, framework="pt") as file:
        kept = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118 - not a mapping
    name = "head.scores.weight"
    assert torch.equal(kept[f"average.{name}"], detector.state_dict()[name])
    assert not torch.equal(kept[f"module.{name}"], detector.state_dict()[name])
    assert not detector.training


def test_a_checkpoint_of_another_training_is_not_used(
    detector: nn.Module, batch_of: Callable[[int], Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    checkpoint, twin = tmp_path / "training.safetensors", copy.deepcopy(detector)
    train(detector, batch_of, SETTINGS, steps=2, key=TrainKey(0, 0, "other"), checkpoint=checkpoint)
    expected = copy.deepcopy(twin)
    train(twin, batch_of, SETTINGS, steps=2, key=KEY, checkpoint=checkpoint)
    train(expected, batch_of, SETTINGS, steps=2, key=KEY)
    assert same(twin, expected)


def test_a_damaged_checkpoint_is_named(detector: nn.Module, batch_of: Callable[[int], Batch], tmp_path: Path) -> None:
    checkpoint = tmp_path / "training.safetensors"
    checkpoint.write_bytes(b"\x10\0\0\0\0\0\0\0not a checkpoint")
    with pytest.raises(IntegrityError, match=r"training\.safetensors: not a checkpoint of ours"):
        train(detector, batch_of, SETTINGS, steps=1, key=KEY, checkpoint=checkpoint)


def test_a_loss_that_is_no_number_ends_the_training_with_its_step(
    detector: nn.Module, batch_of: Callable[[int], Batch]
) -> None:
    def poisoned(step: int) -> Batch:
        batch = batch_of(step)
        return batch._replace(images=batch.images * float("nan")) if step == 2 else batch

    with pytest.raises(Diverged, match="at step 2 of 5"):
        train(detector, poisoned, SETTINGS, steps=5, key=KEY)


def test_the_loss_falls(detector: nn.Module, batch_of: Callable[[int], Batch]) -> None:
    seen: list[float] = []
    train(
        detector, batch_of, SETTINGS, steps=200, key=KEY, on_step=lambda _step, terms: seen.append(sum(terms.values()))
    )
    assert sum(seen[-5:]) / 5 < 0.8 * sum(seen[:2]) / 2
