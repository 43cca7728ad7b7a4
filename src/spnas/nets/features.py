"""A backbone as others use one: feature maps with a description of them, or a classifier."""

from collections.abc import Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from spnas.errors import UsageError
from spnas.nets.backbone import Backbone


class FeatureInfo(msgspec.Struct, frozen=True):
    """What comes out of a backbone, in timm's words: a dict of `num_chs`, `reduction`, `module` and `index` a stage.

    Methods answer for the stages of `out_indices`, or for those asked for.
    """

    info: list[dict[str, Any]]
    out_indices: tuple[int, ...]

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """Return one entry of every output, of one stage, or of some stages."""
        if isinstance(idx, int):
            return self.info[idx][key]
        return [self.info[i][key] for i in (self.out_indices if idx is None else idx)]

    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the channels of every output, or of the stages asked for."""
        return self.get("num_chs", idx)

    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the stride of every output in input pixels, or of the stages asked for."""
        return self.get("reduction", idx)

    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the name of the module every output comes from, or of the stages asked for."""
        return self.get("module", idx)

    def get_dicts(self, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return the dicts of all outputs, cut down to `keys`."""
        chosen = [self.info[i] for i in self.out_indices]
        return chosen if keys is None else [{key: d[key] for key in keys} for d in chosen]

    def __getitem__(self, stage: int) -> dict[str, Any]:
        return self.info[stage]

    def __len__(self) -> int:
        return len(self.info)


def feature_info(backbone: Backbone, out_indices: Sequence[int] | None = None) -> FeatureInfo:
    """Describe the outputs of `backbone`; negative indices count from the last stage.

    Raises: UsageError for a stage that is not there.
    """
    count = len(backbone.channels)
    asked = tuple(range(count)) if out_indices is None else tuple(out_indices)
    if not asked or not all(-count <= i < count for i in asked):
        raise UsageError(f"out_indices {asked}: the backbone has {count} stages; give some of 0..{count - 1}")
    info = [
        {"num_chs": channels, "reduction": stride, "module": f"stages.{stage}", "index": stage}
        for stage, (channels, stride) in enumerate(zip(backbone.channels, backbone.strides, strict=True))
    ]
    return FeatureInfo(info, tuple(sorted({i % count for i in asked})))


class Features(nn.Module):
    """A backbone whose outputs are the feature maps of the stages `out_indices`, finest first."""

    def __init__(self, backbone: Backbone, *, out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.feature_info = feature_info(backbone, out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W), normalised as for ImageNet -> maps of `feature_info.channels()`."""
        maps = self.backbone(images)
        return [maps[i] for i in self.feature_info.out_indices]


class Classifier(nn.Module):
    """A backbone, global average pooling and one linear layer, as in He et al. 2016."""

    def __init__(self, backbone: Backbone, *, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_classes, self.num_features = num_classes, backbone.channels[-1]
        self.fc = nn.Linear(self.num_features, num_classes)
        self.feature_info = feature_info(backbone)

    def forward_features(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), normalised as for ImageNet -> the last stage's map."""
        last: Tensor = self.backbone(images)[-1]
        return last

    def forward_head(self, x: Tensor) -> Tensor:
        """The last stage's map -> logits (N, num_classes)."""
        logits: Tensor = self.fc(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), normalised as for ImageNet -> logits (N, num_classes)."""
        return self.forward_head(self.forward_features(images))
