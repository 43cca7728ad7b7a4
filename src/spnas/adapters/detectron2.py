"""Our backbones in detectron2: importing this enters `build_spnet_backbone` and `build_spnet_fpn_backbone`.

Source: the contract is that of detectron2's `Backbone` and `BACKBONE_REGISTRY`. Config keys, which `add_config` makes:
MODEL.SPNET.ARCH (a name, notation or code), MODEL.SPNET.WEIGHTS (see `spnas.create_model`), MODEL.SPNET.OUT_FEATURES
(some of stage1, stage2, ...; all when empty).
"""

from typing import Any

from detectron2.config import CfgNode  # type: ignore[import-not-found]
from detectron2.modeling import (  # type: ignore[import-not-found]
    BACKBONE_REGISTRY,
    Backbone,
    ShapeSpec,
)
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool  # type: ignore[import-not-found]
from torch import Tensor

from spnas.errors import UsageError
from spnas.models import create_model
from spnas.nets.features import Features


def add_config(cfg: Any) -> None:
    """Add our keys to a detectron2 config, with ResNet-50 for the architecture."""
    cfg.MODEL.SPNET = CfgNode({"ARCH": "resnet50", "WEIGHTS": "", "OUT_FEATURES": []})


class SPNetBackbone(Backbone):  # type: ignore[misc]  # detectron2 is not there when types are checked
    """Feature maps by the names stage1, stage2, ..."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features
        info = features.feature_info
        self._out_features = [f"stage{stage + 1}" for stage in info.out_indices]
        self._out_feature_channels = dict(zip(self._out_features, info.channels(), strict=True))
        self._out_feature_strides = dict(zip(self._out_features, info.reduction(), strict=True))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> feature maps by name."""
        return dict(zip(self._out_features, self.features(images), strict=True))

    def output_shape(self) -> dict[str, Any]:
        """Return channels and stride of every output."""
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }


@BACKBONE_REGISTRY.register()  # type: ignore[untyped-decorator]
def build_spnet_backbone(cfg: Any, input_shape: Any) -> SPNetBackbone:
    """Build the backbone that MODEL.SPNET names. Raises: UsageError for an unknown name, stage or number of bands."""
    if input_shape.channels not in (None, 3):
        raise UsageError(f"pictures of {input_shape.channels} channels; our backbones read 3")
    chosen = cfg.MODEL.SPNET
    try:
        indices = [int(name.removeprefix("stage")) - 1 for name in chosen.OUT_FEATURES]
    except ValueError:
        raise UsageError(f"MODEL.SPNET.OUT_FEATURES {chosen.OUT_FEATURES}: give some of stage1, stage2, ...") from None
    return SPNetBackbone(create_model(chosen.ARCH, pretrained_path=chosen.WEIGHTS or None, out_indices=indices or None))


@BACKBONE_REGISTRY.register()  # type: ignore[untyped-decorator]
def build_spnet_fpn_backbone(cfg: Any, input_shape: Any) -> Any:
    """Build it with detectron2's pyramid over all its outputs and one pooled level, as MODEL.FPN says."""
    bottom_up = build_spnet_backbone(cfg, input_shape)
    return FPN(
        bottom_up=bottom_up,
        in_features=list(bottom_up.output_shape()),
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
