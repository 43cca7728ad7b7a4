"""Our backbones in mmdetection: `custom_imports = dict(imports=["spnas.adapters.mmdet"])` makes the type SPNet known.

Source: the contract is that of mmdetection's `MODELS` registry: a backbone's forward returns a tuple, and `train`
keeps frozen what the config freezes.
"""

from collections.abc import Sequence
from typing import Any, Self

from mmdet.registry import MODELS  # type: ignore[import-not-found]
from mmengine.model import BaseModule  # type: ignore[import-not-found]
from torch import Tensor, nn

from spnas.models import create_model


@MODELS.register_module()
class SPNet(BaseModule):  # type: ignore[misc]  # mmengine is not there when types are checked
    """A backbone for a config, e.g. `backbone=dict(type="SPNet", arch="spnet_coco_bnb", frozen_stages=1)`.

    Args:
        arch: a published name, a notation or a code.
        weights: see `spnas.create_model`.
        frozen_stages: so many stages, and the stem before them, are not trained; 0 freezes the stem alone, -1 nothing.
        norm_eval: keep the statistics of BN in training.

    Raises: UsageError for an unknown architecture, or weights that do not suit it.
    """

    def __init__(
        self,
        arch: str,
        *,
        weights: str | None = None,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = True,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        self.features = create_model(arch, pretrained_path=weights, out_indices=out_indices)
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        self.train()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> feature maps, finest first."""
        return tuple(self.features(images))

    def train(self, mode: bool = True) -> Self:
        """Switch to training, but for what is frozen."""
        super().train(mode)
        net = self.features.backbone
        frozen = [net.stem, *list(net.stages)[: self.frozen_stages]] if self.frozen_stages >= 0 else []
        for part in frozen:
            part.eval()
            part.requires_grad_(False)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self
