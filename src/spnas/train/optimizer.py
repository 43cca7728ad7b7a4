"""Which weights are trained, how fast, and which stand still."""

from typing import cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD, AdamW, Optimizer

from spnas.nets.backbone import Backbone
from spnas.train.settings import TrainSettings


def make_optimizer(module: nn.Module, settings: TrainSettings) -> Optimizer:
    """Make the optimiser; biases and norms are not decayed. A group's `share` is that of the rate its weights get."""
    shares = _shares(module, settings.layer_decay) if settings.layer_decay != 1 else {}
    groups = []
    for share in sorted({1.0, *shares.values()}, reverse=True):
        mine = [p for p in module.parameters() if p.requires_grad and shares.get(p, 1.0) == share]
        decayed, others = [p for p in mine if p.ndim > 1], [p for p in mine if p.ndim <= 1]
        groups += [
            {"params": decayed, "weight_decay": settings.weight_decay, "share": share},
            {"params": others, "weight_decay": 0.0, "share": share},
        ]
    if settings.optimizer == "adamw":
        return AdamW(groups, lr=settings.rate, fused=True)
    return SGD(groups, lr=settings.rate, momentum=settings.momentum, fused=True)


def _shares(module: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """Return the share of the rate for every weight of the backbone: `decay` to the power of the blocks after it.

    The copies of a stage count as its first block; what follows the backbone gets the whole rate.
    """
    backbone = cast(Backbone, module.backbone)
    first = (0, *backbone.arch.starts)
    last = backbone.arch.block_count
    parts = [(backbone.stem, -1), *zip(backbone.blocks(), range(last), strict=True)]
    parts += [(copies, first[stage]) for stage, copies in enumerate(backbone.copies)]
    return {p: decay ** (last - number) for part, number in parts for p in part.parameters()}


def freeze(module: nn.Module, settings: TrainSettings) -> None:
    """Mark the weights that stand still; to be called before an optimiser is made."""
    for part in _still(module, settings):
        part.requires_grad_(False)


def training_mode(module: nn.Module, settings: TrainSettings) -> None:
    """Switch to training, but for what stands still."""
    module.train()
    for part in _still(module, settings):
        part.eval()


def _still(module: nn.Module, settings: TrainSettings) -> list[nn.Module]:
    """Return the parts that neither learn nor count statistics."""
    parts = [m for m in module.modules() if isinstance(m, _BatchNorm)] if settings.norm == "frozen" else []
    if settings.frozen_stages < 0:
        return list(parts)
    backbone = cast(Backbone, module.backbone)
    stages = settings.frozen_stages
    return [*parts, backbone.stem, *list(backbone.stages)[:stages], *list(backbone.copies)[:stages]]
