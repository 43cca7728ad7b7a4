"""FCOS: every point of the pyramid says of the object around it what it is, how far its sides are, and how central.

Source: Tian et al., FCOS (ICCV 2019), with the improvements of its second version: only points near the middle of an
object stand for it, boxes are learned by GIoU, and scores are the geometric mean of class and centreness. We differ
in the levels: all stages of the backbone from stride 4 on and one pooled level, as for the other detectors here.
N pictures, L points of all levels, G padded ground truths.
"""

import itertools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from spnas.nets import boxes as bx
from spnas.nets.anchors import anchors
from spnas.nets.backbone import Backbone
from spnas.nets.detectors import Detections
from spnas.nets.neck import FPN
from spnas.nets.proposals import Targets
from spnas.nets.selection import best
from spnas.nets.settings import DetectorSettings

RADIUS = 1.5  # of the middle of an object, in strides
PRIOR = 0.01  # probability of every class at the start of training


class Guesses(NamedTuple):
    """What is said of the points of one level: scores (N, L, classes), distances (N, L, 4) to the left, upper, right
    and lower side in strides, centreness (N, L); and the points, as cells (L, 4) around them in input pixels."""

    scores: Tensor
    distances: Tensor
    centreness: Tensor
    cells: Tensor


class PointHead(nn.Module):
    """Two towers shared by all levels, one for classes, one for boxes and centreness, and a scale for each level."""

    def __init__(self, settings: DetectorSettings, classes: int, levels: int) -> None:
        super().__init__()
        channels = settings.fpn_channels
        self.class_tower = _tower(channels, settings.tower_depth)
        self.box_tower = _tower(channels, settings.tower_depth)
        self.scores = nn.Conv2d(channels, classes, 3, padding=1)
        self.distances = nn.Conv2d(channels, 4, 3, padding=1)
        self.centreness = nn.Conv2d(channels, 1, 3, padding=1)
        # one parameter a level, and not one of all: a child with more levels takes over those that its parent had
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in range(levels))
        for name, parameter in self.named_parameters():
            if parameter.ndim == 4:
                nn.init.normal_(parameter, std=0.01)
            elif name.endswith("bias"):
                nn.init.constant_(parameter, math.log(PRIOR / (1 - PRIOR)) if name == "scores.bias" else 0.0)

    def forward(self, levels: list[Tensor], strides: tuple[int, ...]) -> list[Guesses]:
        """Say of every point of every level what is there; all in float32."""
        shapes = tuple((int(level.shape[-2]), int(level.shape[-1])) for level in levels)
        found = []
        for level, scale, cells in zip(levels, self.scales, anchors(shapes, strides, 1.0, (1.0,)), strict=True):
            classes, boxes = self.class_tower(level), self.box_tower(level)
            scores, sides, centreness = (
                x.float().permute(0, 2, 3, 1).flatten(1, 2)
                for x in (self.scores(classes), self.distances(boxes), self.centreness(boxes))
            )
            distances = (scale * sides).clamp(max=bx.LARGEST_LOG_SCALE).exp()
            found.append(Guesses(scores, distances, centreness[..., 0], cells.to(level.device)))
        return found


def _tower(channels: int, depth: int) -> nn.Sequential:
    groups = channels // math.gcd(channels, 8)
    layers = [
        (nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(groups, channels), nn.ReLU(inplace=True))
        for _ in range(depth)
    ]
    return nn.Sequential(*itertools.chain.from_iterable(layers))


@torch.no_grad()
def match(cells: Tensor, reach: Tensor, boxes: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Say which box (N, G, 4) every point stands for: column (N, L), and whether there is any (N, L).

    A point stands for the smallest box whose middle is within `RADIUS` strides, that contains it, and whose farthest
    side is within its level's reach (L, 2), from and to, in pixels.
    """
    area = bx.areas(boxes).masked_fill(~real, torch.inf)[:, None]
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    columns, hits = [], []
    for part in bx.slices(len(cells), real.numel()):
        points, radius = _middles(cells[part]), RADIUS * (cells[part, 2] - cells[part, 0])[:, None]
        nearest, farthest, off = [], [], []
        for axis in range(2):
            at = points[:, axis, None]
            before, after = at - boxes[:, None, :, axis], boxes[:, None, :, axis + 2] - at
            nearest.append(torch.minimum(before, after))
            farthest.append(torch.maximum(before, after))
            off.append((at - middle[:, None, :, axis]).abs())
        far = torch.maximum(*farthest)
        stands = (torch.minimum(*nearest) > 0) & (torch.maximum(*off) < radius)
        stands &= (far >= reach[part, :1]) & (far <= reach[part, 1:])
        smallest, column = torch.where(stands, area, torch.inf).min(-1)
        columns.append(column)
        hits.append(smallest < torch.inf)
    return torch.cat(columns, 1), torch.cat(hits, 1)


def _middles(cells: Tensor) -> Tensor:
    return (cells[..., :2] + cells[..., 2:]) / 2


def _boxes_at(cells: Tensor, distances: Tensor) -> Tensor:
    """Boxes around points, from distances in strides."""
    middle, stride = _middles(cells), cells[..., 2:] - cells[..., :2]
    return torch.cat((middle - distances[..., :2] * stride, middle + distances[..., 2:] * stride), -1)


def centreness_of(points: Tensor, boxes: Tensor) -> Tensor:
    """(K, 2) points in (K, 4) boxes -> (K,): 1 in the middle, 0 at a side."""
    before, after = points - boxes[:, :2], boxes[:, 2:] - points
    share = torch.minimum(before, after) / torch.maximum(before, after).clamp(min=1e-6)
    return share.clamp(min=0).prod(-1).sqrt()


class FCOS(nn.Module):
    """A one-stage detector without anchors."""

    def __init__(self, backbone: Backbone, *, classes: int, settings: DetectorSettings) -> None:
        super().__init__()
        strides = (*backbone.strides, 2 * backbone.strides[-1])
        self.settings, self.classes, self.strides = settings, classes, strides
        self.backbone = backbone
        self.neck = FPN(backbone.channels, settings.fpn_channels)
        self.head = PointHead(settings, classes, len(strides))

    def loss(self, images: Tensor, targets: Targets, sizes: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the three terms of the loss; nothing is drawn, and padding is background."""
        del sizes, rng
        guesses = self.head(self.neck(self.backbone(images)), self.strides)
        cells = torch.cat([level.cells for level in guesses])
        scores, distances, centreness = (torch.cat([level[i] for level in guesses], 1) for i in range(3))
        column, hit = match(cells, self._reach(guesses), targets.boxes, targets.real)
        unusable = targets.unusable(cells)
        used = torch.ones_like(hit) if unusable is None else hit | ~unusable
        picture, point = hit.nonzero(as_tuple=True)
        matched = column[picture, point]
        wanted = torch.zeros_like(scores)
        wanted[picture, point, targets.labels[picture, matched]] = 1
        focal = sigmoid_focal_loss(scores, wanted).sum(-1)
        truth, places = targets.boxes[picture, matched], cells[point]
        central = centreness_of(_middles(places), truth)
        apart = generalized_box_iou_loss(_boxes_at(places, distances[picture, point]), truth)
        count = hit.sum().clamp(min=1)
        return {
            "class": (focal * used).sum() / count,
            "boxes": (apart * central).sum() / central.sum().clamp(min=1e-6),
            "centreness": F.binary_cross_entropy_with_logits(centreness[picture, point], central, reduction="sum")
            / count,
        }

    def _reach(self, guesses: list[Guesses]) -> Tensor:
        """(L, 2): how far the farthest side may be, from and to, in pixels: powers of two a level, as the strides."""
        last = len(guesses) - 1
        bounds = [
            (self.settings.anchor_scale * stride / 2 if i else 0.0, self.settings.anchor_scale * stride)
            for i, stride in enumerate(self.strides)
        ]
        bounds[last] = (bounds[last][0], math.inf)
        return torch.cat(
            [level.cells.new_tensor(b).expand(len(level.cells), 2) for level, b in zip(guesses, bounds, strict=True)]
        )

    @torch.no_grad()
    def detect(self, images: Tensor, sizes: Tensor) -> Detections:
        """Find objects: the best class-wise detections of every picture, at most `most_detections`."""
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for scores, distances, centreness, cells in self.head(self.neck(self.backbone(images)), self.strides):
            probability = scores.sigmoid()
            ranked = (probability * centreness.sigmoid()[..., None]).sqrt()
            ranked = ranked.masked_fill(probability <= self.settings.score_threshold, -torch.inf).flatten(1)
            top, index = ranked.topk(min(self.settings.proposals_before_nms[1], ranked.shape[1]), dim=1)
            point = index // self.classes
            picked = distances.gather(1, point[..., None].expand(-1, -1, 4))
            parts.append((bx.clip(_boxes_at(cells[point], picked), sizes), top, index % self.classes))
        boxes, ranked, labels = (torch.cat(column, 1) for column in zip(*parts, strict=True))
        ranked = ranked.masked_fill(bx.is_empty(boxes), -torch.inf)
        kept = bx.suppress_in_groups(boxes, ranked, labels, self.settings.nms_threshold, span=sizes.max() + 1)
        return best(boxes, ranked.masked_fill(~kept, -torch.inf), labels, count=self.settings.most_detections)


build = FCOS
