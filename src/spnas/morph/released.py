"""A child starts as in the authors' release, faults included: for benchmarks only.

Source: the 2020 release of SP-NAS in huawei-noah/vega. What has the same place, name and shape is copied. A new block
has *every* norm weight at zero, so it never learns; so has a new projection, so what it carries is lost; copies are
new, and neck and head start anew.
"""

import torch
from torch import nn

from spnas.arch.move import Origins
from spnas.nets.backbone import Backbone


@torch.no_grad()
def inherit_as_released(child: Backbone, parent: Backbone, origins: Origins) -> None:
    """Fill the main net of `child`, a fresh backbone, with what the release would copy from `parent`."""
    old_blocks = parent.blocks()
    stem = {k: v for k, v in parent.stem.state_dict().items() if child.stem.state_dict()[k].shape == v.shape}
    child.stem.load_state_dict(stem, strict=False)
    for block, origin in zip(child.blocks(), origins, strict=True):
        old = old_blocks[origin].state_dict() if origin is not None else {}
        mine = block.state_dict()
        block.load_state_dict({k: v for k, v in old.items() if k in mine and mine[k].shape == v.shape}, strict=False)
        for name, module in block.named_modules():
            if isinstance(module, nn.BatchNorm2d) and f"{name}.weight" not in old:
                nn.init.zeros_(module.weight)
