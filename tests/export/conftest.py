"""Detectors with random weights that say something: as spread as those of trained ones."""

from typing import Any

import pytest
import torch
from torch import nn

from spnas.arch import parse
from spnas.export.description import Description
from spnas.nets import detectors as shelf
from spnas.nets.backbone import Backbone
from spnas.nets.settings import PRESETS
from spnas.shelf import take

SIZE = (64, 96)
CLASSES = ("circle", "square", "triangle")
ARCHS = {
    "faster_rcnn": "basic: 8x1 / 16x1 / 32x1 / 32x1 + 1-0-2-1",
    "cascade_rcnn": "bottleneck conv: 8x1 / 8x1 / 16x1 / 16x1 32x1 / 32x1",
    "fcos": "resnext: 16x1 / 32x1 / 32x1 / 64x1 / 64x1 / 64x1",
}


def lively(kind: str) -> Any:
    """A detector whose BN layers are calibrated, and whose scores lie apart."""
    torch.manual_seed(0)
    backbone = Backbone(parse(ARCHS[kind]))
    net: Any = take(shelf, kind).build(backbone, classes=len(CLASSES), settings=PRESETS["small"])
    with torch.no_grad():
        net.train()
        for _ in range(8):
            backbone(torch.randn(4, 3, *SIZE))
        for name, part in net.named_modules():
            last = name.rsplit(".", 1)[-1]
            if last in ("objectness", "scores", "offsets") and isinstance(part, nn.Conv2d | nn.Linear):
                part.weight.mul_(20)
            if name == "head.scores" and kind == "fcos":
                part.bias.zero_()
    return net.eval()


def pictures(count: int, *, seed: int = 1) -> tuple[Any, Any]:
    """Images and sizes as a network takes them: noise with a bright and a dark rectangle each."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, *SIZE, generator=rng) * 0.3
    images[:, :, 10:30, 20:50] += 2
    images[:, :, 40:56, 8:24] -= 2
    sizes = torch.tensor([[64, 90], [50, 96], [64, 96]])[torch.arange(count) % 3]
    for image, (height, width) in zip(images, sizes.tolist(), strict=True):
        image[:, height:] = 0
        image[:, :, width:] = 0
    return images.numpy(), sizes.numpy()


@pytest.fixture(scope="session")
def description() -> Description:
    settings = PRESETS["small"]
    return Description(
        producer="0.1.0",
        detector="faster_rcnn",
        arch=ARCHS["faster_rcnn"],
        classes=CLASSES,
        category_ids=(1, "two", 3),
        short=None,
        long=96,
        height=SIZE[0],
        width=SIZE[1],
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        score_threshold=settings.score_threshold,
        nms_threshold=settings.nms_threshold,
        most_detections=settings.most_detections,
    )
