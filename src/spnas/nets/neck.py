"""The feature pyramid (Lin et al., Feature pyramid networks, CVPR 2017) over all stages, and one pooled level.

We differ in one learned number a level, 1 at first: the share of it that flows down to the next finer one. A level
that is added to a trained pyramid begins with 0 there, and so leaves the finer levels as they were.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FPN(nn.Module):
    """Lateral 1x1 and output 3x3 convolutions with a top-down path; the last level is max-pooled from the one below."""

    def __init__(self, in_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.share = nn.Parameter(torch.ones(len(in_channels) - 1))  # of level i + 1, in level i
        for conv in (*self.lateral, *self.output):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Stage outputs, finest first -> as many levels of equal channels, and the pooled one."""
        x = self.lateral[-1](features[-1])
        levels = [self.output[-1](x)]
        for i in range(len(features) - 2, -1, -1):
            coarser = F.interpolate(x, size=features[i].shape[-2:], mode="nearest")
            x = self.lateral[i](features[i]) + self.share[i] * coarser
            levels.insert(0, self.output[i](x))
        return [*levels, F.max_pool2d(levels[-1], 1, stride=2)]
