"""What a 3x3 convolution over a pyramid sees at a few cells: a loss on samples need not be differentiated elsewhere."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def patches(levels: list[Tensor], picture: Tensor, cell: Tensor) -> Tensor:
    """Return the 3x3 neighbourhoods (K, 9 * C) of K cells of levels (N, C, H_l, W_l), with zeros beyond the borders.

    picture, cell: (K,); the cells of a picture are counted level after level, row after row.
    """
    shapes = torch.tensor([level.shape[-2:] for level in levels], device=cell.device)
    counts = shapes.prod(1)
    ends = counts.cumsum(0)
    level = torch.bucketize(cell, ends, right=True)
    height, width = shapes[level].unbind(1)
    within = cell - (ends - counts)[level]
    near = torch.arange(-1, 2, device=cell.device)
    rows = (within // width)[:, None, None] + near[:, None]
    columns = (within % width)[:, None, None] + near
    inside = (rows >= 0) & (rows < height[:, None, None]) & (columns >= 0) & (columns < width[:, None, None])
    index = (picture * counts[level])[:, None, None] + rows * width[:, None, None] + columns
    index = index.masked_fill(~inside, 0).flatten(1)
    order = level.argsort(stable=True)
    parts = torch.split(index[order], torch.bincount(level, minlength=len(levels)).tolist())
    # level by level: one table of all would be a copy of the whole pyramid, and its gradient another
    tables = (x.permute(0, 2, 3, 1).flatten(0, 2) for x in levels)
    found = torch.cat([table.index_select(0, part.flatten()) for table, part in zip(tables, parts, strict=True)])
    found = found.reshape(len(cell), 9, levels[0].shape[1]).index_select(0, order.argsort())
    return found.masked_fill(~inside.flatten(1)[..., None], 0).flatten(1)


def convolve(conv: nn.Conv2d, seen: Tensor) -> Tensor:
    """Apply a 3x3 convolution to `patches`, or a 1x1 convolution to vectors: (K, k * k * C) -> (K, out channels)."""
    put: Tensor = F.linear(seen, conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias)
    return put
