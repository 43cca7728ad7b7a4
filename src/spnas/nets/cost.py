"""What an architecture costs: multiply-accumulates and parameters, additive per block.

Every distinct block is built once on the meta device and counted by its own modules, never by a second, hand-written
formula; sums over stages that were met before are then cheap enough for ten thousand candidates a second or so.
The paper's "FLOPS (GB)" are such multiply-accumulates at 224x224.
"""

from functools import lru_cache
from typing import Any, cast

import msgspec
import torch
from torch import nn

from spnas.arch import Arch
from spnas.nets.pieces import Piece, Stage, blocks_of, build, lay_out, without_norms


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
    layout = lay_out(arch, (height, width), projections)
    counted = [_count_stage(stage) for stage in layout.stages]
    macs, params = [m for m, _ in counted], [p for _, p in counted]
    for stage, copies, fusion in layout.copies:
        fusion_macs, fusion_params = _count_piece(fusion)
        macs[stage] += copies * (macs[stage] + fusion_macs)
        params[stage] += copies * (fusion_params if tied else params[stage] + fusion_params)
    stem_macs, stem_params = _count_piece(layout.stem)
    macs[0] += stem_macs
    params[0] += stem_params
    return Cost(sum(macs), sum(params), tuple(macs), tuple(params))


@lru_cache(maxsize=65536)
def _count_stage(stage: Stage) -> tuple[int, int]:
    counted = [(_count_piece(piece), times) for piece, times in blocks_of(stage)]
    return sum(macs * times for (macs, _), times in counted), sum(params * times for (_, params), times in counted)


@lru_cache(maxsize=65536)
def _count_piece(piece: Piece) -> tuple[int, int]:
    with torch.device("meta"):
        module = build(piece)
        params = sum(p.numel() for p in module.parameters())
        without_norms(module, lambda _: nn.Identity())  # by convention they are not counted
        return _macs(module, torch.empty(1, piece.in_channels, *piece.size)), params


def _macs(module: nn.Module, x: torch.Tensor) -> int:
    """Run `module` on one picture and return the multiply-accumulates of its convolutions and linear layers."""
    total = 0

    def add(layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += output.numel() * cast(torch.Tensor, layer.weight)[0].numel()

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(add)
    with torch.no_grad():
        module(x)
    return total
