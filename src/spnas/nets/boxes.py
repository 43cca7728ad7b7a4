"""Boxes, batched: overlap, coding as offsets, assignment to ground truth, sampling, suppression.

N pictures, A anchors or proposals, G padded ground truths (label -1 pads).
"""

import math

import torch
from torch import Tensor
from torchvision.ops import nms

LARGEST_LOG_SCALE = math.log(1000.0 / 16)
SMALLEST_SIDE = 1e-2  # pixels
MOST_CELLS = 1 << 22  # of one table of boxes and ground truths; a handful of them live at a time


def areas(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...): areas in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersections(a: Tensor, b: Tensor) -> Tensor:
    """(..., A, 4) and (..., G, 4) -> (..., A, G): areas of intersection."""
    left, top, right, bottom = (
        bound(a[..., :, None, side], b[..., None, :, side])
        for side, bound in enumerate((torch.maximum, torch.maximum, torch.minimum, torch.minimum))
    )
    return right.sub_(left).clamp_(min=0).mul_(bottom.sub_(top).clamp_(min=0))


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """(..., A, 4) and (..., G, 4) -> (..., A, G): intersection over union; empty boxes overlap nothing."""
    shared = intersections(a, b)
    union = (areas(a)[..., :, None] + areas(b)[..., None, :]).sub_(shared)
    return shared.div_(union.clamp_(min=1e-6))


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


def is_empty(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...): which boxes have hardly a width or a height."""
    return ((boxes[..., 2:] - boxes[..., :2]) < SMALLEST_SIDE).any(-1)


def slices(count: int, columns: int) -> list[slice]:
    """Cut `count` rows of a table of so many columns into slices of at most `MOST_CELLS` cells."""
    rows = max(1, MOST_CELLS // max(1, columns))
    return [slice(start, start + rows) for start in range(0, count, rows)]


@torch.no_grad()
def assign(
    boxes: Tensor, truths: Tensor, real: Tensor, *, positive: float, negative: float, best_too: bool
) -> tuple[Tensor, Tensor]:
    """Match boxes (N, A, 4), or (A, 4) for all pictures, to truths (N, G, 4); `real` (N, G): which of them are any.

    Returns: matched column (N, A) and state (N, A): 1 positive, 0 negative, -1 neither. With `best_too`, whatever
    overlaps a ground truth best is positive as well (Faster R-CNN, section 3.1.2). Memory is bounded: the table of
    overlaps is made in slices of A, and with `best_too` twice when there are several.
    """
    parts = slices(boxes.shape[-2], real.numel())
    best, column, highest = [], [], real.new_zeros(real.shape, dtype=boxes.dtype)
    for part in parts:
        overlap = overlaps(boxes[..., part, :], truths).mul_(real[:, None])
        value, index = overlap.max(-1)
        best.append(value)
        column.append(index)
        if best_too:
            highest = torch.maximum(highest, overlap.amax(1))
    state = _state(torch.cat(best, 1), positive=positive, negative=negative)
    if best_too:
        wanted = highest.masked_fill(highest <= 1e-3, torch.inf)[:, None]
        for part in parts:
            if len(parts) > 1:
                overlap = overlaps(boxes[..., part, :], truths).mul_(real[:, None])
            state[:, part].masked_fill_((overlap == wanted).any(-1), 1)
    return torch.cat(column, 1), state


def _state(best: Tensor, *, positive: float, negative: float) -> Tensor:
    neither = torch.full_like(best, -1, dtype=torch.long)
    return neither.masked_fill_(best < negative, 0).masked_fill_(best >= positive, 1)


@torch.no_grad()
def covered(boxes: Tensor, regions: Tensor, real: Tensor, *, share: float) -> Tensor:
    """(N, A, 4) or (A, 4) -> (N, A): which boxes lie to more than `share` of their area in one of the regions
    (N, G, 4) that are `real` (N, G)."""
    size = areas(boxes).clamp(min=1e-6)[..., None]
    found = [
        ((intersections(boxes[..., part, :], regions).div_(size[..., part, :]) > share) & real[:, None]).any(-1)
        for part in slices(boxes.shape[-2], real.numel())
    ]
    return torch.cat(found, 1)


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
    real = scores > -math.inf
    kept = torch.zeros_like(real)
    # most classes are in few pictures; a traced network must not hang on which
    rows = range(len(scores)) if torch.compiler.is_compiling() else real.any(1).nonzero()[:, 0].tolist()
    for row in rows:
        kept[row, nms(boxes[row], scores[row], threshold)] = True
    return kept & real


def suppress_in_groups(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, *, span: Tensor) -> Tensor:
    """`suppress`, but boxes of different groups (R, K), counted from 0, leave each other alone: each group is moved
    `span` further away than the one before, which is more than the largest coordinate."""
    return suppress(boxes + groups[..., None] * span, scores, threshold)
