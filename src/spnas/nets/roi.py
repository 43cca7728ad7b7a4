"""Pooling a region from the pyramid level that suits its size (FPN, equation 1), by RoIAlign.

Source: He et al., Mask R-CNN (ICCV 2017). On a CPU all levels are one table of cells, and every bin is a weighted sum
of four cells a sampling point: one `embedding_bag`, about three times as fast as an RoIAlign per level on small
pictures, forwards and backwards, and equal to it within rounding. On a GPU torchvision's kernel is used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from spnas.nets.settings import DetectorSettings

USUAL_SCALE = 14 / 8  # a box of 224 px goes to stride 16 where anchors are 8 strides wide


def pool_regions(levels: list[Tensor], strides: tuple[int, ...], boxes: Tensor, settings: DetectorSettings) -> Tensor:
    """Pool (N, R, 4) boxes in input pixels from pyramid levels -> (N * R, C, size, size)."""
    # what diverged gives no numbers, and what is no number is no place: the loss says so, not a crash in native code
    boxes = boxes.nan_to_num(0, 0, 0)
    which = level_of(boxes.reshape(-1, 4), strides[0] * settings.anchor_scale * USUAL_SCALE, len(levels))
    size, ratio = settings.roi_size, settings.roi_sampling_ratio
    if levels[0].is_cuda:
        return _pool_by_level(levels, strides, boxes, which, size, ratio)
    cells = torch.cat([level.permute(0, 2, 3, 1).flatten(0, 2) for level in levels])
    shapes = [(level.shape[-2], level.shape[-1]) for level in levels]
    index, weight = corners(shapes, strides, boxes, which, size, ratio)
    pooled = F.embedding_bag(index, cells, per_sample_weights=weight.to(cells.dtype), mode="sum")
    return pooled.reshape(-1, size, size, cells.shape[1]).permute(0, 3, 1, 2)


def level_of(boxes: Tensor, base: float, count: int) -> Tensor:
    """Say which level (R,) pools each of (R, 4) boxes: the finest below side 2 * base, then one more per doubling."""
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=1e-6).sqrt()
    return (side / base).log2().floor().clamp(0, count - 1).long()


def corners(
    shapes: list[tuple[int, int]], strides: tuple[int, ...], boxes: Tensor, which: Tensor, size: int, ratio: int
) -> tuple[Tensor, Tensor]:
    """Return for every bin the cells it draws on and their weights, both (N * R * size^2, 4 * ratio^2).

    Cells are numbered level after level, picture after picture, row after row.
    """
    n, r = boxes.shape[:2]
    device, dtype = boxes.device, boxes.dtype
    height, width = torch.tensor(shapes, device=device)[which].unbind(1)
    starts = torch.tensor([0] + [n * h * w for h, w in shapes[:-1]], device=device).cumsum(0)[which]
    picture = torch.arange(n, device=device).repeat_interleave(r)
    scaled = boxes.reshape(-1, 4) / torch.tensor(strides, device=device, dtype=dtype)[which, None] - 0.5
    at = (torch.arange(size * ratio, device=device, dtype=dtype) + 0.5) / (size * ratio)
    rows, row_weights = _neighbours(scaled[:, 1:2] + (scaled[:, 3:4] - scaled[:, 1:2]) * at, height)
    columns, column_weights = _neighbours(scaled[:, 0:1] + (scaled[:, 2:3] - scaled[:, 0:1]) * at, width)
    rows = (starts + picture * height * width)[:, None] + rows * width[:, None]
    shape = (n * r, size, 2 * ratio)
    index = rows.reshape(shape)[:, :, None, :, None] + columns.reshape(shape)[:, None, :, None, :]
    weight = row_weights.reshape(shape)[:, :, None, :, None] * column_weights.reshape(shape)[:, None, :, None, :]
    return index.reshape(-1, 4 * ratio**2), weight.reshape(-1, 4 * ratio**2) / ratio**2


def _neighbours(points: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """(R, P) coordinates -> the two cells around each and their bilinear weights, (R, 2 * P) in pairs."""
    last = (limit[:, None] - 1).to(points.dtype)
    inside = (points >= -1) & (points <= last + 1)
    points = points.clamp(min=0)
    low = torch.minimum(points.floor(), last)
    share = torch.where(low == last, 0, points - low)
    cells = torch.stack((low, torch.minimum(low + 1, last)), -1).long()
    weights = torch.stack((1 - share, share), -1) * inside[..., None]
    return cells.flatten(1), weights.flatten(1)


def _pool_by_level(
    levels: list[Tensor], strides: tuple[int, ...], boxes: Tensor, which: Tensor, size: int, ratio: int
) -> Tensor:
    n, r = boxes.shape[:2]
    picture = torch.arange(n, device=boxes.device).repeat_interleave(r)
    rois = torch.cat((picture[:, None].to(boxes.dtype), boxes.reshape(-1, 4)), 1)
    pooled = levels[0].new_zeros(n * r, levels[0].shape[1], size, size)
    for i, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        index = (which == i).nonzero()[:, 0]
        # coordinates in half precision would move boxes by pixels
        out = roi_align(level.to(rois.dtype), rois[index], size, 1 / stride, ratio, aligned=True)
        pooled = pooled.index_copy(0, index, out.to(level.dtype))
    return pooled
