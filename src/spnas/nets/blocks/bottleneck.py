"""1x1, 3x3, 1x1 (He et al., CVPR 2016, figure 5 right), with the stride on the 3x3."""

from torch import Tensor, nn

from spnas.nets.blocks import add_shortcut, norm_conv, shortcut_of

EXPANSION = 4
WIDTH_STEP = 1


class Bottleneck(nn.Module):
    """The bottleneck block; `inner` channels and `groups` make it a ResNeXt block."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        projection: bool,
        inner: int | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__()
        inner = inner or width
        self.width, self.stride = width, stride
        self.conv1 = norm_conv(in_channels, inner, 1)
        self.conv2 = norm_conv(inner, inner, 3, stride=stride, groups=groups)
        self.conv3 = norm_conv(inner, width * EXPANSION, 1)
        self.shortcut = shortcut_of(in_channels, width * EXPANSION, stride=stride, projection=projection)

    @property
    def last_norm(self) -> nn.Module:
        """The BN that ends the residual function."""
        return self.conv3[1]

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, 4 * width, H / stride, W / stride)."""
        residual = self.conv3(self.conv2(self.conv1(x).relu_()).relu_())
        return add_shortcut(x, residual, self.shortcut)


build = Bottleneck
