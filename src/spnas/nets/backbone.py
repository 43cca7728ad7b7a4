"""The backbone an `Arch` stands for: stem -> stages, every stage an output, copies of stages beside them.

Source: SP-NAS supplement, figure 1, and the method figure for the copies; stems after He et al. (7x7 and max-pooling)
and after partial order pruning (two strided 3x3 convolutions). The stem's channels are the width of the first block:
64 in every published net.
"""

from collections.abc import Iterator
from typing import NamedTuple, cast

from torch import Tensor, nn

from spnas.arch import Arch
from spnas.errors import UsageError
from spnas.nets.blocks import block_kind, norm_conv
from spnas.nets.parallel import Copies, fusion


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


def build_stage(arch: Arch, stage: int, projections: frozenset[int] = frozenset()) -> nn.Sequential:
    """Make the blocks of one stage."""
    kind = block_kind(arch.block)
    return nn.Sequential(
        *(
            kind.build(p.in_channels, p.width, stride=p.stride, projection=p.projection)
            for p in plan(arch, projections)
            if p.stage == stage
        )
    )


class Backbone(nn.Module):
    """A backbone; `channels` and `strides` describe its outputs, one a stage of the main net.

    tied: whether the copies of a stage share the weights of the main net's.
    """

    def __init__(self, arch: Arch, *, projections: frozenset[int] = frozenset(), tied: bool = False) -> None:
        super().__init__()
        self.arch, self.projections, self.tied = arch, projections, tied
        self.stem = build_stem(arch.stem, arch.widths[0])
        self.stages = nn.ModuleList(build_stage(arch, stage, projections) for stage in range(len(arch.stages)))
        self.channels = stage_channels(arch)
        self.strides = tuple(4 * 2**stage for stage in range(len(arch.stages)))
        self.copies = nn.ModuleList()  # none in a serial net, else one a stage
        for stage, count in enumerate(arch.copies):
            in_channels = self.channels[stage - 1] if stage else arch.widths[0]
            own = [build_stage(arch, stage, projections) for _ in range(count)] if not tied else []
            self.copies.append(Copies(own, [fusion(self.channels[stage], in_channels) for _ in range(count)]))

    def blocks(self) -> list[nn.Module]:
        """Return all blocks of the main net in the order of the chain."""
        return [block for stage in self.stages for block in cast(nn.Sequential, stage)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> one feature map a stage, from stride 4 on."""
        features: list[Tensor] = []
        x, parallel = self.stem(images), list[Tensor]()
        for number, stage in enumerate(self.stages):
            if self.copies:
                x, parallel = self.copies[number](x, parallel, stage)
            x = stage(x)
            features.append(x)
        return features


def stage_channels(arch: Arch) -> tuple[int, ...]:
    """Return the channels that come out of every stage."""
    return tuple(stage[-1] * block_kind(arch.block).EXPANSION for stage in arch.stages)
