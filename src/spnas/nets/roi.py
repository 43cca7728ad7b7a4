"""Pooling a region from the pyramid level that suits its size (FPN, equation 1)."""

import torch
from torch import Tensor
from torchvision.ops import roi_align

from spnas.nets.settings import DetectorSettings


def pool_regions(levels: list[Tensor], strides: tuple[int, ...], boxes: Tensor, settings: DetectorSettings) -> Tensor:
    """Pool (N, R, 4) boxes in input pixels from pyramid levels -> (N * R, C, size, size).

    The paper's rule sends a box of 224 px to stride 16; sizes scale with the anchors, so that small presets shift too.
    """
    n, r = boxes.shape[:2]
    flat = boxes.reshape(-1, 4)
    picture = torch.arange(n, device=boxes.device).repeat_interleave(r)
    side = ((flat[:, 2] - flat[:, 0]) * (flat[:, 3] - flat[:, 1])).clamp(min=1e-6).sqrt()
    base = strides[0] * settings.anchor_scale * 14 / 8
    which = (side / base).log2().floor().clamp(0, len(levels) - 1).long()
    rois = torch.cat((picture[:, None].to(flat.dtype), flat), 1)
    size = settings.roi_size
    pooled = levels[0].new_zeros(n * r, levels[0].shape[1], size, size)
    for i, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        index = (which == i).nonzero()[:, 0]
        if len(index):
            out = roi_align(
                level,
                rois[index].to(level.dtype),
                size,
                1 / stride,
                settings.roi_sampling_ratio,
                aligned=True,
            )
            pooled = pooled.index_copy(0, index, out)
    return pooled
