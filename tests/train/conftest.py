"""A detector small enough to train within a test, and its batches."""

from collections.abc import Callable

import pytest
from torch import nn

from spnas.data.batches import Batch, Pictures, Resize, train_batch
from spnas.data.records import DataSet
from spnas.nets.settings import PRESETS
from spnas.train.weights import ModelConfig, build


@pytest.fixture
def config(tiny: DataSet) -> ModelConfig:
    return ModelConfig(
        detector="faster_rcnn",
        arch="basic: 8x1 / 16x1 / 32x1 / 64x1",
        classes=tiny.train.classes,
        category_ids=tiny.train.category_ids,
        settings=PRESETS["small"],
        resize=Resize(None, 64),
    )


@pytest.fixture
def detector(config: ModelConfig) -> nn.Module:
    return build(config, seed=0)


@pytest.fixture
def batch_of(tiny: DataSet) -> Callable[[int], Batch]:
    pictures = Pictures(tiny.train, Resize(None, 64))
    return lambda step: train_batch(pictures, batch_size=4, step=step, seed=0)
