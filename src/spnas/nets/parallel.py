"""Parallel copies of a stage: a chain K -> ... -> 1 whose last member refines the input of the main net's stage.

Source: SP-NAS, parallel phase, and its method figure. We differ from the authors' release in that a copy has weights
of its own, unless tied ones are asked for.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from spnas.nets.blocks import norm_conv


def fusion(out_channels: int, in_channels: int) -> nn.Sequential:
    """Make the way back from a stage's output to its input, but for the upsampling: a 1x1 convolution and its BN."""
    return norm_conv(out_channels, in_channels, 1)


class Copies(nn.Module):
    """The copies of one stage, the first of them next to the main net; none make the stage a serial one."""

    def __init__(self, stages: list[nn.Sequential], fusions: list[nn.Sequential]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)  # none where the copies are tied to the main net's stage
        self.fusions = nn.ModuleList(fusions)

    def forward(self, x: Tensor, before: list[Tensor], main: nn.Module) -> tuple[Tensor, list[Tensor]]:
        """Return the input of the main net's stage and what the copies put out, for those of the next stage.

        x: output of the main net's stage before, or of the stem. before: outputs of the copies of the stage before.
        main: the main net's stage, in whose stead tied copies are run.

        Shapes: x (N, C, H, W) and the input that is returned alike; outputs (N, C', H / stride, W / stride).
        """
        outputs: list[Tensor] = []
        fused: Tensor | None = None
        for k in reversed(range(len(self.fusions))):
            own = before[k] if k < len(before) else x
            y = (self.stages[k] if self.stages else main)(own if fused is None else own + fused)
            fused = F.interpolate(self.fusions[k](y), size=x.shape[-2:], mode="nearest")
            outputs.insert(0, y)
        return (x if fused is None else x + fused), outputs
