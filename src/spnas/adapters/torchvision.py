"""Our backbones in torchvision's detectors: an ordered dict of levels, with a pyramid or without one.

Source: the contract is that of `torchvision.models.detection`: a backbone returns an `OrderedDict[str, Tensor]` and
has `out_channels`.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from spnas.nets.features import Features


class NamedFeatures(nn.Module):
    """What torchvision's `IntermediateLayerGetter` is for its own nets: outputs named "0", "1", ..., finest first."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features
        self.in_channels_list: list[int] = features.feature_info.channels()

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """(N, 3, H, W) -> levels by name."""
        return OrderedDict((str(i), level) for i, level in enumerate(self.features(images)))


class FeaturesWithFPN(nn.Module):
    """A backbone and torchvision's own pyramid with one pooled level; `level_names` are what RoI pooling may use."""

    def __init__(self, features: Features, *, out_channels: int = 256) -> None:
        super().__init__()
        self.body = NamedFeatures(features)
        self.fpn = FeaturePyramidNetwork(self.body.in_channels_list, out_channels, extra_blocks=LastLevelMaxPool())
        self.out_channels = out_channels
        self.level_names = [str(i) for i in range(len(self.body.in_channels_list))]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> levels by name, all with `out_channels`; the pooled one is "pool"."""
        levels: dict[str, Tensor] = self.fpn(self.body(images))
        return levels
