"""Regions of two-stage detectors: drawn from proposals, scored and refined by a head, and learned from.

Source: Ren et al., Faster R-CNN (NIPS 2015), and Lin et al., Feature pyramid networks (CVPR 2017).
N pictures, R regions each.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spnas.nets import boxes as bx
from spnas.nets.detectors import Detections
from spnas.nets.proposals import Targets
from spnas.nets.roi import pool_regions
from spnas.nets.selection import select
from spnas.nets.settings import CodeWeights, DetectorSettings

POSITIVE_SHARE = 0.25


class Regions(NamedTuple):
    """What was drawn: boxes (N, R, 4); state (N, R), 1 object, 0 background, -1 nothing; column (N, R), the ground
    truth that is meant; given (N, R), whether the region is a ground truth itself and no proposal."""

    boxes: Tensor
    state: Tensor
    column: Tensor
    given: Tensor


class RegionHead(nn.Module):
    """Pooling, two hidden layers, then scores of the classes and background (last), and offsets for every class or for
    all of them."""

    def __init__(
        self, settings: DetectorSettings, *, classes: int, strides: tuple[int, ...], by_class: bool = True
    ) -> None:
        super().__init__()
        self.settings, self.strides = settings, strides
        self._bins_first = False
        self.hidden1 = nn.Linear(settings.fpn_channels * settings.roi_size**2, settings.hidden)
        self.hidden2 = nn.Linear(settings.hidden, settings.hidden)
        self.scores = nn.Linear(settings.hidden, classes + 1)
        self.offsets = nn.Linear(settings.hidden, 4 * classes if by_class else 4)
        for layer, std in ((self.scores, 0.01), (self.offsets, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, levels: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Look at (N, R, 4) boxes -> scores (N * R, classes + 1) and offsets (N * R, classes or 1, 4), both float32.

        Of the levels, those of `strides` are pooled from; any coarser one is for proposals only.
        """
        pooled = pool_regions(levels[: len(self.strides)], self.strides, boxes, self.settings)
        if self._bins_first:
            pooled = pooled.permute(0, 2, 3, 1)
        x = self.hidden2(self.hidden1(pooled.flatten(1)).relu_()).relu_()
        return self.scores(x).float(), self.offsets(x).float().unflatten(1, (-1, 4))

    def take_bins_first(self) -> None:
        """Put the weights of the first layer into the order in which a CPU pools, bin by bin, for good: what is pooled
        then need not be copied, which of a thousand proposals is 50 MB."""
        first, size = self.hidden1, self.settings.roi_size
        if not self._bins_first:
            weight = first.weight.detach().view(len(first.weight), -1, size, size).permute(0, 2, 3, 1).flatten(1)
            first.weight = nn.Parameter(weight, requires_grad=False)
            self._bins_first = True


@torch.no_grad()
def draw(
    boxes: Tensor, valid: Tensor, *, targets: Targets, overlap: float, count: int, rng: torch.Generator
) -> Regions:
    """Sample `count` of the (N, P, 4) boxes that are `valid` (N, P), and of the ground truths, in every picture.

    overlap: with a ground truth, from which on a region is an object; below it is background, but not within a region
    to be ignored.
    """
    given = torch.cat((torch.zeros_like(valid), torch.ones_like(targets.real)), 1)
    boxes, valid = torch.cat((boxes, targets.boxes), 1), torch.cat((valid, targets.real), 1)
    column, state = bx.assign(boxes, targets.boxes, targets.real, positive=overlap, negative=overlap, best_too=False)
    unusable = targets.unusable(boxes)
    if unusable is not None:
        valid = valid & ~(unusable & (state == 0))
    drawn = bx.sample(state.masked_fill(~valid, -1), count, POSITIVE_SHARE, rng)
    order = drawn.argsort(dim=1, descending=True, stable=True)[:, :count]
    chosen = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    return Regions(chosen, drawn.gather(1, order), column.gather(1, order), given.gather(1, order))


def region_loss(
    scores: Tensor, offsets: Tensor, *, regions: Regions, targets: Targets, code_weights: CodeWeights
) -> dict[str, Tensor]:
    """Return cross-entropy of what a head says of drawn regions, and smooth L1 of its offsets where objects are."""
    boxes, state, column, _ = regions
    labels = targets.labels.gather(1, column).masked_fill(state == 0, scores.shape[1] - 1).masked_fill(state < 0, -100)
    hit = state == 1
    matched = targets.boxes.gather(1, column[..., None].expand(-1, -1, 4))
    wanted = bx.encode(matched[hit], boxes[hit], code_weights)
    got = offsets[hit.flatten().nonzero()[:, 0], labels[hit].clamp(max=offsets.shape[1] - 1)]
    count = (state >= 0).sum().clamp(min=1)
    return {
        "class": F.cross_entropy(scores, labels.flatten(), ignore_index=-100, reduction="sum") / count,
        "offsets": F.smooth_l1_loss(got, wanted, beta=1 / 9, reduction="sum") / count,
    }


@torch.no_grad()
def refine(boxes: Tensor, scores: Tensor, offsets: Tensor, *, code_weights: CodeWeights, sizes: Tensor) -> Tensor:
    """Move (N, R, 4) boxes by what a head says of them, by the offsets of the likeliest class where each has its own,
    and clip them to pictures of sizes (N, 2)."""
    likeliest = scores[:, :-1].argmax(1).clamp(max=offsets.shape[1] - 1)
    own = offsets.gather(1, likeliest[:, None, None].expand(-1, 1, 4))[:, 0]
    return bx.clip(bx.decode(own.reshape(boxes.shape), boxes, code_weights), sizes)


def conclude(
    boxes: Tensor,
    valid: Tensor,
    *,
    probabilities: Tensor,
    offsets: Tensor,
    code_weights: CodeWeights,
    sizes: Tensor,
    settings: DetectorSettings,
) -> Detections:
    """Return what is found where (N, P, 4) boxes are `valid` (N, P), after the last head.

    Shapes: probabilities (N * P, classes + 1), offsets (N * P, classes or 1, 4).
    """
    n, p = valid.shape
    scores = probabilities[:, :-1].reshape(n, p, -1).masked_fill(~valid[..., None], 0)
    moved = bx.decode(offsets, boxes.reshape(-1, 1, 4), code_weights).reshape(n, -1, 4)
    return select(bx.clip(moved, sizes).reshape(n, p, -1, 4), scores, settings)
