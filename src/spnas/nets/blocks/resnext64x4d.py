"""ResNeXt 64x4d: a bottleneck of four times the inner width in 64 groups (Xie et al., CVPR 2017)."""

from spnas.nets.blocks.bottleneck import Bottleneck

EXPANSION = 4
WIDTH_STEP = 16  # 4 * width inner channels go into 64 groups


def build(in_channels: int, width: int, *, stride: int, projection: bool) -> Bottleneck:
    """Make one block."""
    return Bottleneck(in_channels, width, stride=stride, projection=projection, inner=4 * width, groups=64)
