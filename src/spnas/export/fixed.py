"""A detector as one function of fixed shapes, for exporters: images and sizes in, padded rows of detections out.

Three steps of a detector would tie an exported one to a number of pictures, or to what is in them; a copy gets parts
that do the same without: proposals are not counted in Python, regions of all levels are pooled from one map, and
suppression is one operator, of which an exporter is told what it stands for.

N pictures, R regions each, D detections at most.
"""

import contextlib
import copy
import itertools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from spnas.nets import boxes as bx
from spnas.nets.anchors import anchors
from spnas.nets.detectors import Detections
from spnas.nets.inference import fold_norms
from spnas.nets.proposals import RPN, Guesses
from spnas.nets.regions import RegionHead
from spnas.nets.roi import USUAL_SCALE, level_of
from spnas.nets.settings import DetectorSettings

_by_rows = bx.suppress


class Fixed(nn.Module):
    """A copy of a detector, ready to be traced within `suppression_as_operator`; float32 in and out.

    dtype: of the network's weights and features; boxes are float32 always.
    """

    def __init__(self, detector: nn.Module, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        copied = fold_norms(copy.deepcopy(detector).cpu().eval())
        for parent in list(copied.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, RPN):
                    setattr(parent, name, BatchedRPN(child))
                elif isinstance(child, RegionHead):
                    setattr(parent, name, HeadAtOnce(child))
        self.detector: Any = copied.to(memory_format=torch.contiguous_format).to(dtype)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) and (N, 2) -> boxes (N, D, 4), scores (N, D), labels (N, D)."""
        found: Detections = self.detector.detect(images.to(self.dtype), sizes)
        return found.boxes, found.scores, found.labels


class BatchedRPN(nn.Module):
    """What an RPN does, without asking how many pictures there are."""

    def __init__(self, rpn: RPN) -> None:
        super().__init__()
        self.of = rpn

    def forward(self, levels: list[Tensor]) -> Guesses:
        """As `RPN.forward`."""
        hidden = [torch.relu(self.of.conv(level)) for level in levels]
        scores = [self.of.objectness(h).permute(0, 2, 3, 1).flatten(1) for h in hidden]
        offsets = [self.of.offsets(h).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for h in hidden]
        shapes = tuple((int(h.shape[-2]), int(h.shape[-1])) for h in hidden)
        made = anchors(shapes, self.of.strides, self.of.settings.anchor_scale, self.of.settings.anchor_ratios)
        return Guesses(scores, offsets, list(made))

    def propose(self, guesses: Guesses, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """As `RPN.propose`."""
        return self.of.propose(guesses, sizes)


class HeadAtOnce(nn.Module):
    """What a `RegionHead` does, with the regions of all levels pooled at once."""

    def __init__(self, head: RegionHead) -> None:
        super().__init__()
        self.of = head

    def forward(self, levels: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """As `RegionHead.forward`."""
        pooled = pool_at_once(levels[: len(self.of.strides)], self.of.strides, boxes, self.of.settings)
        x = torch.relu(self.of.hidden2(torch.relu(self.of.hidden1(pooled.flatten(1)))))
        return self.of.scores(x).float(), self.of.offsets(x).float().unflatten(1, (-1, 4))


def pool_at_once(levels: list[Tensor], strides: tuple[int, ...], boxes: Tensor, settings: DetectorSettings) -> Tensor:
    """Do what `spnas.nets.roi.pool_regions` does, within rounding: (N, R, 4) boxes within the picture -> (N * R, C,
    size, size).

    The levels become one map, each below the one before with a rim of repeated cells, at which interpolation gives what
    it gives at a border; so one RoIAlign pools all regions, and none from a level that is not its own.
    """
    n, r = boxes.shape[:2]
    which = level_of(boxes.reshape(-1, 4), strides[0] * settings.anchor_scale * USUAL_SCALE, len(levels))
    widest = max(level.shape[-1] for level in levels) + 2
    # coordinates in half precision would move boxes by pixels
    rimmed = [_rimmed(_rimmed(level.to(boxes.dtype), -1), -2) for level in levels]
    one = torch.cat([F.pad(level, (0, widest - level.shape[-1])) for level in rimmed], 2)
    tops = itertools.accumulate((level.shape[-2] for level in rimmed[:-1]), initial=0)
    corner = boxes.new_tensor([(1.0, top + 1.0) * 2 for top in tops])[which]
    moved = boxes.reshape(-1, 4) / boxes.new_tensor(strides)[which, None] + corner
    picture = torch.arange(n, device=boxes.device)[:, None].expand(n, r).reshape(-1, 1)
    rois = torch.cat((picture.to(boxes.dtype), moved), 1)
    pooled: Tensor = roi_align(one, rois, settings.roi_size, 1.0, settings.roi_sampling_ratio, aligned=True)
    return pooled.to(levels[0].dtype)


def _rimmed(x: Tensor, dim: int) -> Tensor:
    """Repeat the first and the last cells along `dim`."""
    last = x.shape[dim] - 1
    return torch.cat((x.narrow(dim, 0, 1), x, x.narrow(dim, last, 1)), dim)


@torch.library.custom_op("spnas::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Do what `spnas.nets.boxes.suppress` does, as one operator that an exporter can be told about."""
    return _by_rows(boxes, scores, threshold)


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    del boxes, threshold
    return torch.empty_like(scores, dtype=torch.bool)


@contextlib.contextmanager
def suppression_as_operator() -> Iterator[None]:
    """Let detectors suppress by the operator inside the block, where one is traced; what comes out is the same."""
    bx.suppress = suppress
    try:
        yield
    finally:
        bx.suppress = _by_rows
