"""What an architecture costs: multiply-accumulates and parameters, additive per block.

Every distinct block is built once on the meta device and counted by its own modules, never by a second, hand-written
formula; sums over blocks are then cheap enough for a thousand candidates in well under a second.
The paper's "FLOPS (GB)" are such multiply-accumulates at 224x224.
"""

from functools import lru_cache
from typing import Any

import msgspec
import torch
from torch import nn

from spnas.arch import Arch
from spnas.nets.backbone import BlockPlan, build_stem, plan, stage_channels
from spnas.nets.blocks import block_kind
from spnas.nets.parallel import fusion


class Cost(msgspec.Struct, frozen=True):
    """Multiply-accumulates for one picture, and parameters, of the backbone; per stage, the stem with the first."""

    macs: int
    params: int
    stage_macs: tuple[int, ...]
    stage_params: tuple[int, ...]

    @property
    def gmacs(self) -> float:
        """Multiply-accumulates in units of 1e9."""
        return self.macs / 1e9


def cost(
    arch: Arch,
    height: int = 224,
    width: int = 224,
    *,
    projections: frozenset[int] = frozenset(),
    tied: bool = False,
) -> Cost:
    """Count `arch` at this input size in pixels, its copies and their fusions too.

    projections: blocks with a projection shortcut that their shape does not ask for (see `spnas.morph`). A search
    leaves them out: they are an inheritance that the same architecture does without when it is trained afresh.
    tied: whether copies share the weights of the main net's stage, which saves parameters and no multiply-accumulates.
    """
    stem_macs, stem_params, h, w = _count_stem(arch.stem, arch.widths[0], height, width)
    macs, params = [0] * len(arch.stages), [0] * len(arch.stages)
    ends = [(h, w)] * len(arch.stages)
    for block in plan(arch, projections):
        block_macs, block_params, h, w = _count_block(arch.block, block._replace(number=0, stage=0), h, w)
        macs[block.stage] += block_macs
        params[block.stage] += block_params
        ends[block.stage] = h, w
    channels = (arch.widths[0], *stage_channels(arch))
    for stage, copies in enumerate(arch.copies):
        fusion_macs, fusion_params, _, _ = _count_fusion(channels[stage + 1], channels[stage], *ends[stage])
        macs[stage] += copies * (macs[stage] + fusion_macs)
        params[stage] += copies * (fusion_params if tied else params[stage] + fusion_params)
    macs[0] += stem_macs
    params[0] += stem_params
    return Cost(sum(macs), sum(params), tuple(macs), tuple(params))


Counted = tuple[int, int, int, int]


@lru_cache(maxsize=65536)
def _count_block(kind: str, block: BlockPlan, h: int, w: int) -> Counted:
    with torch.device("meta"):
        module = block_kind(kind).build(
            block.in_channels, block.width, stride=block.stride, projection=block.projection
        )
        return count(module, torch.empty(1, block.in_channels, h, w))


@lru_cache(maxsize=1024)
def _count_stem(kind: str, channels: int, h: int, w: int) -> Counted:
    with torch.device("meta"):
        return count(build_stem(kind, channels), torch.empty(1, 3, h, w))


@lru_cache(maxsize=4096)
def _count_fusion(out_channels: int, in_channels: int, h: int, w: int) -> Counted:
    with torch.device("meta"):
        return count(fusion(out_channels, in_channels), torch.empty(1, out_channels, h, w))


def count(module: nn.Module, x: torch.Tensor) -> Counted:
    """Run `module` on `x` and return the multiply-accumulates of its convolutions and linear layers, its parameters,
    and the height and width of what comes out."""
    total = 0

    def add(layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        per_output = layer.weight[0].numel() if isinstance(layer, nn.Conv2d | nn.Linear) else 0
        total += output.numel() // output.shape[0] * per_output

    hooks = [m.register_forward_hook(add) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    was_training = module.training
    with torch.no_grad():
        y = module.eval()(x)
    module.train(was_training)
    for hook in hooks:
        hook.remove()
    return total, sum(p.numel() for p in module.parameters()), y.shape[-2], y.shape[-1]
