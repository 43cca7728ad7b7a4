"""Faster R-CNN with FPN: proposals, then classification and box refinement of pooled regions.

Source: Ren et al. (NIPS 2015), Lin et al. (CVPR 2017). We differ in that every stage of the backbone feeds the
pyramid (4 to 6, as in SP-NAS), and that all steps are batched over pictures of one padded size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spnas.nets import boxes as bx
from spnas.nets.backbone import Backbone
from spnas.nets.detectors import Detections
from spnas.nets.neck import FPN
from spnas.nets.proposals import RPN, Targets
from spnas.nets.roi import pool_regions
from spnas.nets.settings import DetectorSettings

CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
POSITIVE_SHARE = 0.25


class RegionHead(nn.Module):
    """Two hidden layers, then scores of the classes and background (last), and offsets for every class."""

    def __init__(self, settings: DetectorSettings, classes: int) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(settings.fpn_channels * settings.roi_size**2, settings.hidden)
        self.hidden2 = nn.Linear(settings.hidden, settings.hidden)
        self.scores = nn.Linear(settings.hidden, classes + 1)
        self.offsets = nn.Linear(settings.hidden, 4 * classes)
        for layer, std in ((self.scores, 0.01), (self.offsets, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """(R, C, S, S) -> scores (R, classes + 1) and offsets (R, classes, 4), both float32."""
        x = self.hidden2(self.hidden1(regions.flatten(1)).relu_()).relu_()
        return self.scores(x).float(), self.offsets(x).float().unflatten(1, (-1, 4))


class FasterRCNN(nn.Module):
    """The detector of the paper's FPN rows."""

    def __init__(self, backbone: Backbone, *, classes: int, settings: DetectorSettings) -> None:
        super().__init__()
        strides = (*backbone.strides, 2 * backbone.strides[-1])
        self.settings, self.classes, self.strides = settings, classes, strides
        self.backbone = backbone
        self.neck = FPN(backbone.channels, settings.fpn_channels)
        self.rpn = RPN(settings, strides)
        self.head = RegionHead(settings, classes)

    def loss(self, images: Tensor, targets: Targets, sizes: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the four terms of the loss; `rng` draws anchors and regions."""
        levels = self.neck(self.backbone(images))
        guesses = self.rpn(levels)
        terms = self.rpn.loss(guesses, targets, rng)
        proposals, valid = self.rpn.propose(guesses, sizes)
        boxes, drawn, column = self._draw_regions(proposals, valid, targets, rng)
        scores, offsets = self.head(pool_regions(levels[:-1], self.strides[:-1], boxes, self.settings))
        return terms | self._region_loss(scores, offsets, boxes, drawn, column, targets)

    @torch.no_grad()
    def _draw_regions(
        self, proposals: Tensor, valid: Tensor, targets: Targets, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sample proposals and ground truths -> boxes (N, R, 4), drawn (N, R) of 1, 0, -1, column (N, R)."""
        boxes = torch.cat((proposals, targets.boxes), 1)
        valid = torch.cat((valid, targets.real), 1)
        column, state = bx.assign(
            bx.overlaps(boxes, targets.boxes), targets.real, positive=0.5, negative=0.5, best_too=False
        )
        unusable = targets.unusable(boxes)
        if unusable is not None:
            valid = valid & ~(unusable & (state == 0))
        drawn = bx.sample(state.masked_fill(~valid, -1), self.settings.roi_samples, POSITIVE_SHARE, rng)
        order = drawn.argsort(dim=1, descending=True, stable=True)[:, : self.settings.roi_samples]
        return (
            boxes.gather(1, order[..., None].expand(-1, -1, 4)),
            drawn.gather(1, order),
            column.gather(1, order),
        )

    def _region_loss(
        self, scores: Tensor, offsets: Tensor, boxes: Tensor, drawn: Tensor, column: Tensor, targets: Targets
    ) -> dict[str, Tensor]:
        labels = targets.labels.gather(1, column).masked_fill(drawn == 0, self.classes).masked_fill(drawn < 0, -100)
        hit = drawn == 1
        wanted = bx.encode(targets.boxes.gather(1, column[..., None].expand(-1, -1, 4))[hit], boxes[hit], CODE_WEIGHTS)
        flat_hit = hit.flatten().nonzero()[:, 0]
        got = offsets[flat_hit, labels[hit]]
        count = (drawn >= 0).sum().clamp(min=1)
        return {
            "class": F.cross_entropy(scores, labels.flatten(), ignore_index=-100, reduction="sum") / count,
            "offsets": F.smooth_l1_loss(got, wanted, beta=1 / 9, reduction="sum") / count,
        }

    @torch.no_grad()
    def detect(self, images: Tensor, sizes: Tensor) -> Detections:
        """Find objects: the best class-wise detections of every picture, at most `most_detections`."""
        levels = self.neck(self.backbone(images))
        proposals, valid = self.rpn.propose(self.rpn(levels), sizes)
        n, p = proposals.shape[:2]
        scores, offsets = self.head(pool_regions(levels[:-1], self.strides[:-1], proposals, self.settings))
        scores = scores.softmax(-1)[:, :-1].reshape(n, p, -1).masked_fill(~valid[..., None], 0)
        boxes = bx.decode(offsets, proposals.reshape(-1, 1, 4), CODE_WEIGHTS).reshape(n, -1, 4)
        return self._select(bx.clip(boxes, sizes).reshape(n, p, -1, 4), scores)

    def _select(self, boxes: Tensor, scores: Tensor) -> Detections:
        """(N, P, classes, 4) and (N, P, classes) -> the detections that survive threshold and class-wise NMS."""
        n, p, c = scores.shape
        ranked, order = scores.transpose(1, 2).reshape(n * c, p).sort(dim=1, descending=True, stable=True)
        by_class = boxes.transpose(1, 2).reshape(n * c, p, 4).gather(1, order[..., None].expand(-1, -1, 4))
        ranked = ranked.masked_fill(ranked <= self.settings.score_threshold, -torch.inf)
        kept = bx.suppress(by_class, ranked, self.settings.nms_threshold)
        flat = ranked.masked_fill(~kept, -torch.inf).reshape(n, c * p)
        top, index = flat.topk(min(self.settings.most_detections, c * p), dim=1)
        empty = top == -torch.inf
        found = by_class.reshape(n, c * p, 4).gather(1, index[..., None].expand(-1, -1, 4))
        return Detections(found, top.masked_fill(empty, 0), (index // p).masked_fill(empty, -1))


build = FasterRCNN
