"""The region proposal network (Ren et al., Faster R-CNN, NIPS 2015), batched over pictures.

Proposals are not differentiated, and the loss looks at a few sampled anchors: so the pass over all cells keeps nothing
for a way back, and the loss runs the same weights again over the cells of those anchors alone. Gradients are those of
one pass over everything, within rounding, and the way back takes next to nothing (`benchmarks/results/throughput.md`).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spnas.nets import boxes as bx
from spnas.nets.anchors import anchors
from spnas.nets.patches import convolve, patches
from spnas.nets.settings import DetectorSettings

CODE_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
NMS_THRESHOLD = 0.7


class Targets(NamedTuple):
    """Ground truth of N pictures: boxes (N, G, 4) xyxy in input pixels, labels (N, G) with -1 for padding, and
    ignore (N, G): regions that are neither object nor background."""

    boxes: Tensor
    labels: Tensor
    ignore: Tensor

    @property
    def real(self) -> Tensor:
        """(N, G): which rows are objects to be found."""
        return (self.labels >= 0) & ~self.ignore

    def unusable(self, boxes: Tensor) -> Tensor | None:
        """(N, A, 4) or (A, 4) -> (N, A): boxes mostly inside an ignore region, or None where there is no region."""
        if not bool(self.ignore.any()):
            return None
        return bx.covered(boxes, self.boxes, self.ignore, share=0.5)


class Guesses(NamedTuple):
    """What the network says of every anchor, per level: scores (N, A_l), offsets (N, A_l, 4), anchors (A_l, 4)."""

    scores: list[Tensor]
    offsets: list[Tensor]
    anchors: list[Tensor]


class RPN(nn.Module):
    """A 3x3 convolution shared by all levels, then objectness and offsets for every anchor."""

    def __init__(self, settings: DetectorSettings, strides: tuple[int, ...]) -> None:
        super().__init__()
        channels, ratios = settings.fpn_channels, len(settings.anchor_ratios)
        self.settings, self.strides = settings, strides
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, ratios, 1)
        self.offsets = nn.Conv2d(channels, 4 * ratios, 1)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=0.01)

    @torch.no_grad()
    def forward(self, levels: list[Tensor]) -> Guesses:
        """Say of every anchor of every level how much of an object it is, and where that object is."""
        scores, offsets = list[Tensor](), list[Tensor]()
        for level in levels:
            hidden = self.conv(level).relu_()
            scores.append(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1))
            offsets.append(self.offsets(hidden).permute(0, 2, 3, 1).reshape(len(hidden), -1, 4))
        shapes = tuple((int(level.shape[-2]), int(level.shape[-1])) for level in levels)
        made = anchors(shapes, self.strides, self.settings.anchor_scale, self.settings.anchor_ratios)
        return Guesses(scores, offsets, [a.to(levels[0].device) for a in made])

    @torch.no_grad()
    def propose(self, guesses: Guesses, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Return proposals (N, P, 4) and which of them are any (N, P), best first."""
        mode = 0 if self.training else 1
        before, after = self.settings.proposals_before_nms[mode], self.settings.proposals_after_nms[mode]
        by_level, score_by_level = [], []
        most = min(before, max(score.shape[1] for score in guesses.scores))
        for score, offset, boxes in zip(*guesses, strict=True):
            top, index = score.float().topk(min(before, score.shape[1]), dim=1)
            picked = offset.float().gather(1, index[..., None].expand(-1, -1, 4))
            moved = bx.clip(bx.decode(picked, boxes[index], CODE_WEIGHTS), sizes)
            lacking = most - top.shape[1]  # levels suppress apart, as rows of one length
            by_level.append(F.pad(moved, (0, 0, 0, lacking)))
            score_by_level.append(F.pad(top, (0, lacking), value=-torch.inf))
        boxes, score = torch.stack(by_level, 1), torch.stack(score_by_level, 1)
        score = score.masked_fill(bx.is_empty(boxes), -torch.inf)
        kept = bx.suppress(boxes.flatten(0, 1), score.flatten(0, 1), NMS_THRESHOLD).view_as(score)
        left = score.masked_fill(~kept, -torch.inf).flatten(1)
        top, index = left.topk(min(after, left.shape[1]), dim=1)
        return boxes.flatten(1, 2).gather(1, index[..., None].expand(-1, -1, 4)), top > -torch.inf

    def loss(self, levels: list[Tensor], guesses: Guesses, targets: Targets, rng: torch.Generator) -> dict[str, Tensor]:
        """Return binary cross-entropy of objectness and smooth L1 of offsets over sampled anchors."""
        anchor_all = torch.cat(guesses.anchors)
        column, state = bx.assign(anchor_all, targets.boxes, targets.real, positive=0.7, negative=0.3, best_too=True)
        unusable = targets.unusable(anchor_all)
        if unusable is not None:
            state = torch.where(unusable & (state == 0), -1, state)
        drawn = bx.sample(state, self.settings.rpn_samples, 0.5, rng)
        picture, number = (drawn >= 0).nonzero().unbind(1)
        hit = drawn[picture, number] == 1
        score, offset = self._look_at(levels, picture, number)
        truth = targets.boxes[picture[hit], column[picture[hit], number[hit]]]
        wanted = bx.encode(truth, anchor_all[number[hit]], CODE_WEIGHTS)
        count = max(1, len(number))
        return {
            "rpn_objectness": F.binary_cross_entropy_with_logits(score, hit.float(), reduction="sum") / count,
            "rpn_offsets": F.smooth_l1_loss(offset[hit], wanted, beta=1 / 9, reduction="sum") / count,
        }

    def _look_at(self, levels: list[Tensor], picture: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """Say of K anchors, by picture and number (K,), what `forward` says: scores (K,) and offsets (K, 4)."""
        ratios = self.objectness.out_channels
        hidden = convolve(self.conv, patches(levels, picture, number // ratios)).relu_()
        own = (number % ratios)[:, None]
        score = convolve(self.objectness, hidden).float().gather(1, own)[:, 0]
        offset = convolve(self.offsets, hidden).float().reshape(-1, ratios, 4)
        return score, offset.gather(1, own[..., None].expand(-1, -1, 4))[:, 0]
