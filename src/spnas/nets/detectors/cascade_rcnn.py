"""Cascade R-CNN with FPN: heads in a row, each for better regions, each on the boxes that the one before refined.

Source: Cai & Vasconcelos (CVPR 2018), with its overlaps .5, .6, .7. As there, every stage draws its regions anew from
refined boxes and ground truths, boxes are shared by the classes, and scores are the mean over the stages'. We differ
in that each stage scores the boxes that it was given, not the last ones, so that no head runs twice; and, as in
`faster_rcnn`, in 4 to 6 levels and in steps batched over pictures.
"""

import torch
from torch import Tensor, nn

from spnas.nets import boxes as bx
from spnas.nets.backbone import Backbone
from spnas.nets.detectors import Detections
from spnas.nets.neck import FPN
from spnas.nets.proposals import RPN, Targets
from spnas.nets.regions import RegionHead, conclude, draw, refine, region_loss
from spnas.nets.settings import DetectorSettings


class CascadeRCNN(nn.Module):
    """The detector of the paper's Cascade rows."""

    def __init__(self, backbone: Backbone, *, classes: int, settings: DetectorSettings) -> None:
        super().__init__()
        strides = (*backbone.strides, 2 * backbone.strides[-1])
        self.settings, self.strides = settings, strides
        self.backbone = backbone
        self.neck = FPN(backbone.channels, settings.fpn_channels)
        self.rpn = RPN(settings, strides)
        self.heads = nn.ModuleList(
            RegionHead(settings, classes=classes, strides=backbone.strides, by_class=settings.cascade_by_class)
            for _ in settings.cascade
        )

    def loss(self, images: Tensor, targets: Targets, sizes: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of the loss, two of the proposals and two a stage; `rng` draws anchors and regions."""
        levels = self.neck(self.backbone(images))
        guesses = self.rpn(levels)
        terms = self.rpn.loss(levels, guesses, targets, rng)
        boxes, valid = self.rpn.propose(guesses, sizes)
        for number, (stage, head) in enumerate(zip(self.settings.cascade, self.heads, strict=True), 1):
            regions = draw(
                boxes, valid, targets=targets, overlap=stage.overlap, count=self.settings.roi_samples, rng=rng
            )
            scores, offsets = head(levels, regions.boxes)
            found = region_loss(scores, offsets, regions=regions, targets=targets, code_weights=stage.code_weights)
            terms |= {f"{name}_{number}": stage.loss_weight * term for name, term in found.items()}
            boxes = refine(regions.boxes, scores, offsets, code_weights=stage.code_weights, sizes=sizes)
            # the next stage is given the ground truths as they are, not a second time as this one would move them
            valid = (regions.state >= 0) & ~regions.given & ~bx.is_empty(boxes)
        return terms

    @torch.no_grad()
    def detect(self, images: Tensor, sizes: Tensor) -> Detections:
        """Find objects: the best class-wise detections of every picture, at most `most_detections`."""
        levels = self.neck(self.backbone(images))
        boxes, valid = self.rpn.propose(self.rpn(levels), sizes)
        *early, last = zip(self.settings.cascade, self.heads, strict=True)
        probabilities = []
        for stage, head in early:
            scores, offsets = head(levels, boxes)
            probabilities.append(scores.softmax(-1))
            boxes = refine(boxes, scores, offsets, code_weights=stage.code_weights, sizes=sizes)
        scores, offsets = last[1](levels, boxes)
        return conclude(
            boxes,
            valid,
            probabilities=torch.stack((*probabilities, scores.softmax(-1))).mean(0),
            offsets=offsets,
            code_weights=last[0].code_weights,
            sizes=sizes,
            settings=self.settings,
        )


build = CascadeRCNN
