"""Anchors: one size a level, three ratios, centred on the cells of every pyramid level."""

from functools import lru_cache

import torch
from torch import Tensor


def anchors(
    shapes: tuple[tuple[int, int], ...], strides: tuple[int, ...], scale: float, ratios: tuple[float, ...]
) -> tuple[Tensor, ...]:
    """Return (H * W * ratios, 4) boxes a level, in input pixels, cells in row-major order, ratios (h / w) innermost."""
    # while a network is traced, tensors are no numbers, and must not be remembered as if they were
    made = _make if torch.compiler.is_compiling() else _remembered
    return made(shapes, strides, scale, ratios)


def _make(
    shapes: tuple[tuple[int, int], ...], strides: tuple[int, ...], scale: float, ratios: tuple[float, ...]
) -> tuple[Tensor, ...]:
    levels = []
    for (height, width), stride in zip(shapes, strides, strict=True):
        ratio = torch.tensor(ratios).sqrt()
        half = torch.stack((1 / ratio, ratio), -1) * (scale * stride / 2)
        y = (torch.arange(height) + 0.5) * stride
        x = (torch.arange(width) + 0.5) * stride
        centre = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[:, :, None]
        levels.append(torch.cat((centre - half, centre + half), -1).reshape(-1, 4))
    return tuple(levels)


_remembered = lru_cache(maxsize=64)(_make)
