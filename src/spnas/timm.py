"""Importing this makes the SPNets known to timm: `timm.create_model("spnet_coco_bnb", features_only=True)`.

Only names that timm does not have are entered; its ResNets stay its own.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from spnas.arch.published import PUBLISHED
from spnas.errors import UsageError
from spnas.models import create_model

try:
    from timm.models import register_model
except ImportError:
    raise ImportError("timm is not installed; it is an extra: pip install 'spnas[timm]'") from None

NAMES = tuple(name for name in PUBLISHED if name.startswith("spnet_"))
__all__ = ["NAMES"]


def _entry(name: str) -> Callable[..., nn.Module]:
    def build(
        pretrained: bool = False,
        *,
        features_only: bool = False,
        out_indices: Sequence[int] | None = None,
        num_classes: int = 1000,
        in_chans: int = 3,
        checkpoint: str | None = None,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
    ) -> nn.Module:
        del pretrained_cfg, pretrained_cfg_overlay, cache_dir  # timm always hands them over; we have nothing to fetch
        if pretrained:
            raise UsageError(f"{name}: no weights were published; train it, or give checkpoint=PATH")
        if in_chans != 3:
            raise UsageError(f"{name}: in_chans {in_chans}; our backbones read 3 channels")
        return create_model(
            name,
            features_only=features_only,
            pretrained_path=checkpoint,
            out_indices=out_indices,
            num_classes=num_classes,
        )

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{PUBLISHED[name].arch.text} ({PUBLISHED[name].paper})."
    return build


for _name in NAMES:
    _made = _entry(_name)
    setattr(sys.modules[__name__], _name, _made)
    register_model(_made)
