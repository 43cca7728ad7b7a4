"""The shelf of detectors, one a file.

Every file offers `build(backbone, *, classes, settings)`: an `nn.Module` with `backbone`, `neck`, and

* `loss(images, targets, sizes, rng) -> dict of scalars` whose sum is minimised, in training mode;
* `detect(images, sizes) -> Detections`, in evaluation mode.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from spnas.nets.backbone import Backbone
from spnas.nets.proposals import Targets
from spnas.nets.settings import DetectorSettings


class Detections(NamedTuple):
    """Of N pictures, D rows each, best first: boxes (N, D, 4) xyxy in input pixels, scores (N, D), labels (N, D)
    with -1 in rows that hold nothing."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Detector(Protocol):
    """What a detector of this shelf can do, besides being an `nn.Module`."""

    backbone: Backbone
    neck: nn.Module

    def loss(self, images: Tensor, targets: Targets, sizes: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of the training loss; sizes (N, 2) are height and width without padding."""

    def detect(self, images: Tensor, sizes: Tensor) -> Detections:
        """Find objects in images (N, 3, H, W)."""


class DetectorKind(Protocol):
    """What a file on this shelf offers."""

    def build(self, backbone: Backbone, *, classes: int, settings: DetectorSettings) -> nn.Module:
        """Make a detector around a backbone."""
