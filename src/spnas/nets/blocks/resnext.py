"""ResNeXt 32x4d: a bottleneck of twice the inner width in 32 groups (Xie et al., CVPR 2017)."""

from spnas.nets.blocks.bottleneck import Bottleneck

EXPANSION = 4
WIDTH_STEP = 16  # 2 * width inner channels go into 32 groups


def build(in_channels: int, width: int, *, stride: int, projection: bool) -> Bottleneck:
    """Make one block."""
    return Bottleneck(in_channels, width, stride=stride, projection=projection, inner=2 * width, groups=32)
