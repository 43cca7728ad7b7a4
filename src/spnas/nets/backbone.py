"""The backbone an `Arch` stands for: stem -> stages, every stage an output.

Source: SP-NAS supplement, figure 1; stems after He et al. (7x7 and max-pooling) and after partial order pruning
(two strided 3x3 convolutions). The stem's channels are the width of the first block: 64 in every published net.
"""

from collections.abc import Iterator
from typing import NamedTuple, cast

from torch import Tensor, nn

from spnas.arch import Arch
from spnas.errors import UsageError
from spnas.nets.blocks import block_kind, norm_conv


class BlockPlan(NamedTuple):
    """What one block of a chain is built from; `number` counts through all stages."""

    number: int
    stage: int
    in_channels: int
    width: int
    stride: int
    projection: bool


def plan(arch: Arch, projections: frozenset[int] = frozenset()) -> Iterator[BlockPlan]:
    """Yield what every block of `arch` is built from.

    A shortcut is a projection where shapes change, in the first block of a stage when its channels change, and in
    the blocks numbered `projections`: those keep one that they were trained with (see `spnas.morph`).

    Raises: UsageError when a width does not suit the block kind.
    """
    kind = block_kind(arch.block)
    channels, number = arch.widths[0], 0
    for stage, widths in enumerate(arch.stages):
        for position, width in enumerate(widths):
            if width % kind.WIDTH_STEP:
                raise UsageError(
                    f"{arch.block} blocks have widths that are multiples of {kind.WIDTH_STEP}, not {width}"
                )
            stride = 2 if stage > 0 and position == 0 else 1
            yield BlockPlan(number, stage, channels, width, stride, number in projections)
            channels, number = width * kind.EXPANSION, number + 1


def build_stem(kind: str, channels: int) -> nn.Sequential:
    """Make a stem of stride 4: (N, 3, H, W) -> (N, channels, H / 4, W / 4)."""
    if kind == "pool":
        return nn.Sequential(
            *norm_conv(3, channels, 7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2, padding=1)
        )
    first, second = norm_conv(3, channels, 3, stride=2), norm_conv(channels, channels, 3, stride=2)
    return nn.Sequential(*first, nn.ReLU(inplace=True), *second, nn.ReLU(inplace=True))


class Backbone(nn.Module):
    """A serial backbone; `channels` and `strides` describe its outputs, one a stage."""

    def __init__(self, arch: Arch, *, projections: frozenset[int] = frozenset()) -> None:
        super().__init__()
        kind = block_kind(arch.block)
        self.arch = arch
        self.projections = projections
        self.stem = build_stem(arch.stem, arch.widths[0])
        self.stages = nn.ModuleList(nn.Sequential() for _ in arch.stages)
        for p in plan(arch, projections):
            block = kind.build(p.in_channels, p.width, stride=p.stride, projection=p.projection)
            cast(nn.Sequential, self.stages[p.stage]).append(block)
        self.channels = tuple(stage[-1] * kind.EXPANSION for stage in arch.stages)
        self.strides = tuple(4 * 2**stage for stage in range(len(arch.stages)))

    def blocks(self) -> list[nn.Module]:
        """Return all blocks in the order of the chain."""
        return [block for stage in self.stages for block in cast(nn.Sequential, stage)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> one feature map a stage, from stride 4 on."""
        features, x = [], self.stem(images)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features
