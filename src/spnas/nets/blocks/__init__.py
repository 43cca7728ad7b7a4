"""The shelf of residual blocks: y = relu(shortcut(x) + F(x)), one kind a file.

Every file offers `EXPANSION` (output channels / width), `WIDTH_STEP` (widths are multiples of it) and
`build(in_channels, width, *, stride, projection)`. A block has `shortcut` (an `nn.Sequential` of a strided 1x1
convolution and BN, or None for the identity) and `last_norm`, the BN that ends F: with its weight at zero the
block is its shortcut, and still learns. It has `width` and `stride` too.
"""

from typing import Protocol, cast

from torch import Tensor, nn

from spnas.nets import blocks as shelf
from spnas.shelf import take


class BlockKind(Protocol):
    """What a file on this shelf offers."""

    EXPANSION: int
    WIDTH_STEP: int

    def build(self, in_channels: int, width: int, *, stride: int, projection: bool) -> nn.Module:
        """Make one block."""


def block_kind(name: str) -> BlockKind:
    """Return the block kind of this name. Raises: UsageError naming the nearest one."""
    return cast(BlockKind, take(shelf, name))


def norm_conv(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Make a convolution without bias and its BN, kaiming-initialised for the ReLU that follows."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    if not conv.weight.is_meta:
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def shortcut_of(in_channels: int, out_channels: int, *, stride: int, projection: bool) -> nn.Sequential | None:
    """Make the shortcut: a projection where shapes change or where one is asked for, else the identity (None)."""
    if stride == 1 and in_channels == out_channels and not projection:
        return None
    return norm_conv(in_channels, out_channels, 1, stride=stride)


def add_shortcut(x: Tensor, residual: Tensor, shortcut: nn.Module | None) -> Tensor:
    """Return relu(shortcut(x) + residual)."""
    return (residual + (x if shortcut is None else shortcut(x))).relu_()
