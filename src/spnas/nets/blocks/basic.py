"""Two 3x3 convolutions (He et al., Deep residual learning, CVPR 2016, figure 5 left)."""

from torch import Tensor, nn

from spnas.nets.blocks import add_shortcut, norm_conv, shortcut_of

EXPANSION = 1
WIDTH_STEP = 1


class Basic(nn.Module):
    """The basic block; the first 3x3 carries the stride."""

    def __init__(self, in_channels: int, width: int, *, stride: int, projection: bool) -> None:
        super().__init__()
        self.width, self.stride = width, stride
        self.conv1 = norm_conv(in_channels, width, 3, stride=stride)
        self.conv2 = norm_conv(width, width, 3)
        self.shortcut = shortcut_of(in_channels, width, stride=stride, projection=projection)

    @property
    def last_norm(self) -> nn.Module:
        """The BN that ends the residual function."""
        return self.conv2[1]

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, width, H / stride, W / stride)."""
        return add_shortcut(x, self.conv2(self.conv1(x).relu_()), self.shortcut)


build = Basic
