"""Faster R-CNN with FPN: proposals, then classification and box refinement of pooled regions.

Source: Ren et al. (NIPS 2015), Lin et al. (CVPR 2017). We differ in that every stage of the backbone feeds the
pyramid (4 to 6, as in SP-NAS), and that all steps are batched over pictures of one padded size.
"""

import torch
from torch import Tensor, nn

from spnas.nets.backbone import Backbone
from spnas.nets.detectors import Detections
from spnas.nets.neck import FPN
from spnas.nets.proposals import RPN, Targets
from spnas.nets.regions import RegionHead, conclude, draw, region_loss
from spnas.nets.settings import DetectorSettings

CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class FasterRCNN(nn.Module):
    """The detector of the paper's FPN rows."""

    def __init__(self, backbone: Backbone, *, classes: int, settings: DetectorSettings) -> None:
        super().__init__()
        strides = (*backbone.strides, 2 * backbone.strides[-1])
        self.settings, self.strides = settings, strides
        self.backbone = backbone
        self.neck = FPN(backbone.channels, settings.fpn_channels)
        self.rpn = RPN(settings, strides)
        self.head = RegionHead(settings, classes=classes, strides=backbone.strides)

    def loss(self, images: Tensor, targets: Targets, sizes: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the four terms of the loss; `rng` draws anchors and regions."""
        levels = self.neck(self.backbone(images))
        guesses = self.rpn(levels)
        terms = self.rpn.loss(levels, guesses, targets, rng)
        proposals, valid = self.rpn.propose(guesses, sizes)
        regions = draw(proposals, valid, targets=targets, overlap=0.5, count=self.settings.roi_samples, rng=rng)
        scores, offsets = self.head(levels, regions.boxes)
        return terms | region_loss(scores, offsets, regions=regions, targets=targets, code_weights=CODE_WEIGHTS)

    @torch.no_grad()
    def detect(self, images: Tensor, sizes: Tensor) -> Detections:
        """Find objects: the best class-wise detections of every picture, at most `most_detections`."""
        levels = self.neck(self.backbone(images))
        proposals, valid = self.rpn.propose(self.rpn(levels), sizes)
        scores, offsets = self.head(levels, proposals)
        return conclude(
            proposals,
            valid,
            probabilities=scores.softmax(-1),
            offsets=offsets,
            code_weights=CODE_WEIGHTS,
            sizes=sizes,
            settings=self.settings,
        )


build = FasterRCNN
