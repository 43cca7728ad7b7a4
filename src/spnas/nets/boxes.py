"""Boxes, batched: overlap, coding as offsets, assignment to ground truth, sampling, suppression.

N pictures, A anchors or proposals, G padded ground truths (label -1 pads).
"""

import math

import torch
from torch import Tensor
from torchvision.ops import nms

LARGEST_LOG_SCALE = math.log(1000.0 / 16)


def areas(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...): areas in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersections(a: Tensor, b: Tensor) -> Tensor:
    """(..., A, 4) and (..., G, 4) -> (..., A, G): areas of intersection."""
    top_left = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    bottom_right = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    return (bottom_right - top_left).clamp_(min=0).prod(-1)


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """(..., A, 4) and (..., G, 4) -> (..., A, G): intersection over union; empty boxes overlap nothing."""
    shared = intersections(a, b)
    union = areas(a)[..., :, None] + areas(b)[..., None, :] - shared
    return shared / union.clamp(min=1e-6)


def encode(boxes: Tensor, anchors: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Express `boxes` as offsets from `anchors` (Girshick, Fast R-CNN), scaled by `weights`."""
    size = (anchors[..., 2:] - anchors[..., :2]).clamp(min=1e-3)
    target = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3)
    shift = ((boxes[..., :2] + boxes[..., 2:]) - (anchors[..., :2] + anchors[..., 2:])) / (2 * size)
    return torch.cat((shift, (target / size).log()), -1) * boxes.new_tensor(weights)


def decode(offsets: Tensor, anchors: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Apply offsets to `anchors`: the inverse of `encode`."""
    offsets = offsets / offsets.new_tensor(weights)
    size = anchors[..., 2:] - anchors[..., :2]
    centre = (anchors[..., :2] + anchors[..., 2:]) / 2 + offsets[..., :2] * size
    half = size * offsets[..., 2:].clamp(max=LARGEST_LOG_SCALE).exp() / 2
    return torch.cat((centre - half, centre + half), -1)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Clip (N, A, 4) boxes to pictures of (N, 2) height, width."""
    limit = sizes.flip(-1).repeat(1, 2)[:, None].to(boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), limit)


def assign(overlap: Tensor, real: Tensor, *, positive: float, negative: float, best_too: bool) -> tuple[Tensor, Tensor]:
    """Match (N, A, G) overlaps to ground truth, `real` (N, G) telling which columns are any.

    Returns: matched column (N, A) and state (N, A): 1 positive, 0 negative, -1 neither. With `best_too`, whatever
    overlaps a ground truth best is positive as well (Faster R-CNN, section 3.1.2).
    """
    overlap = overlap * real[:, None]
    best, column = overlap.max(-1)
    state = torch.full_like(column, -1)
    state[best < negative] = 0
    state[best >= positive] = 1
    if best_too:
        highest = overlap.amax(1, keepdim=True)
        is_best = (overlap == highest) & (highest > 1e-3) & real[:, None]
        state[is_best.any(-1)] = 1
    return column, state


def sample(state: Tensor, count: int, positive_share: float, rng: torch.Generator) -> Tensor:
    """Draw `count` rows a picture, positives up to their share, then negatives; (N, A) -> (N, A) of 1, 0, -1."""
    keys = torch.rand(state.shape, generator=rng).to(state.device)
    positives = _draw(state == 1, keys, torch.full_like(state[:, 0], int(count * positive_share)))
    negatives = _draw(state == 0, keys, count - positives.sum(-1))
    return torch.where(positives, 1, torch.where(negatives, 0, -1))


def _draw(allowed: Tensor, keys: Tensor, counts: Tensor) -> Tensor:
    """Choose up to `counts` (N,) of the allowed (N, A), those with the largest keys."""
    most = min(int(counts.max()), allowed.shape[1])
    if most == 0:
        return torch.zeros_like(allowed)
    top, index = keys.masked_fill(~allowed, -1.0).topk(most, dim=1)
    within = torch.arange(most, device=keys.device) < counts[:, None]
    return torch.zeros_like(allowed).scatter_(1, index, (top >= 0) & within)


def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Greedy NMS within rows: (R, K, 4) and (R, K) -> kept (R, K) bool; what has a score of -inf is dropped."""
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for row in range(boxes.shape[0]):
        kept[row, nms(boxes[row], scores[row], threshold)] = True
    return kept & (scores > -math.inf)
