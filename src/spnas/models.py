"""Backbones by name, for code that trains its own detectors: `spnas.create_model("spnet_coco_bnb")`."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

import torch
from torch import Tensor, nn

from spnas.arch import Arch
from spnas.arch.move import Origins
from spnas.arch.published import arch_of
from spnas.errors import UsageError
from spnas.hub import read_weights
from spnas.morph import inherit
from spnas.nets.backbone import Backbone, plan
from spnas.nets.features import Classifier, Features
from spnas.nets.foreign import head_of, load_foreign
from spnas.nets.neck import FPN


@overload
def create_model(
    name_or_arch: str | Arch,
    *,
    features_only: Literal[True] = True,
    pretrained_path: str | Path | None = None,
    out_indices: Sequence[int] | None = None,
    num_classes: int = 1000,
) -> Features:
    """Feature maps, unless a classifier is asked for."""


@overload
def create_model(
    name_or_arch: str | Arch,
    *,
    features_only: bool,
    pretrained_path: str | Path | None = None,
    out_indices: Sequence[int] | None = None,
    num_classes: int = 1000,
) -> Features | Classifier:
    """Either, where only the caller knows."""


def create_model(
    name_or_arch: str | Arch,
    *,
    features_only: bool = True,
    pretrained_path: str | Path | None = None,
    out_indices: Sequence[int] | None = None,
    num_classes: int = 1000,
) -> Features | Classifier:
    """Build a backbone: its feature maps, or with `features_only=False` a classifier.

    Fresh weights are drawn from torch's global generator, as torchvision's and timm's are.

    Args:
        name_or_arch: a published name, a notation, a code, or an `Arch`.
        pretrained_path: a folder or file of ours, or a .pth or .safetensors file with torchvision's or timm's names.
            A classifier takes `fc` along where it is there and of the right size.
        out_indices: stages that become outputs, from 0; all if not given.

    Raises: UsageError for an unknown name, and when weights do not suit the architecture.
    """
    arch = name_or_arch if isinstance(name_or_arch, Arch) else arch_of(name_or_arch)
    given = read_weights(Path(pretrained_path)) if pretrained_path is not None else None
    if given is not None and given.arch not in (None, arch):
        raise UsageError(
            f"{pretrained_path}: weights of {given.arch}, not of {arch}; build that one, then start this one from it "
            "with spnas.warm_start"
        )
    backbone = Backbone(arch)
    if given is not None:
        backbone = Backbone(arch, projections=given.projections, tied=given.tied)
        load_foreign(backbone, given.tensors, source=str(pretrained_path))
    if features_only:
        return Features(backbone, out_indices=out_indices)
    classifier = Classifier(backbone, num_classes=num_classes)
    head = head_of(given.tensors) if given is not None else {}
    if head.keys() == {"weight", "bias"} and head["weight"].shape == classifier.fc.weight.shape:
        classifier.fc.load_state_dict(head)
    return classifier


def warm_start(backbone: nn.Module, source: nn.Module, *, pictures: Tensor | None = None) -> None:
    """Fill a backbone with the weights of another one that is shallower, narrower or has fewer stages (or more).

    Block k of stage s starts from block k of stage s; a block without such a partner begins as the identity and
    learns. Another stem than the source's stays as it is. Models of `create_model` do as well.

    pictures: (N, 3, H, W), a batch to measure what changes on, as `spnas.morph.inherit` does with it.

    Raises: UsageError when the two are not made of the same kind of blocks.
    """
    young, old = _backbone_of(backbone), _backbone_of(source)
    if young.arch.block != old.arch.block:
        raise UsageError(f"{young.arch.block} blocks cannot start from {old.arch.block} blocks; choose one kind")
    old = _first_stages(copy.deepcopy(old), len(young.arch.stages))
    if young.arch.stem != old.arch.stem:
        old.stem = copy.deepcopy(young.stem)
    inherit(_Shell(young), _Shell(old), partners(young, old), pictures=pictures)


def partners(backbone: Backbone, source: Backbone) -> Origins:
    """Say for every block from which block of `source` it starts, None for one that begins as the identity.

    A block trained with a projection cannot start one that has none: half of what it computes would be gone.
    """
    projects = [block.shortcut is not None for block in source.blocks()]
    needs = [block.shortcut is not None for block in backbone.blocks()]
    starts = (0, *source.arch.starts)
    found: list[int | None] = []
    for block in plan(backbone.arch):
        position = block.number - (0, *backbone.arch.starts)[block.stage]
        here = block.stage < len(starts) and position < len(source.arch.stages[block.stage])
        origin = starts[block.stage] + position if here else None
        found.append(None if origin is not None and projects[origin] and not needs[block.number] else origin)
    return tuple(found)


def _first_stages(backbone: Backbone, count: int) -> Backbone:
    """Cut a backbone, in place, down to at most so many stages."""
    arch = backbone.arch
    backbone.arch = Arch(arch.block, arch.stages[:count], arch.copies[:count], arch.stem)
    backbone.projections = frozenset(n for n in backbone.projections if n < backbone.arch.block_count)
    backbone.stages = backbone.stages[:count]
    backbone.copies = backbone.copies[:count] if backbone.arch.copies else nn.ModuleList()
    backbone.channels, backbone.strides = backbone.channels[:count], backbone.strides[:count]
    return backbone


class _Shell(nn.Module):
    """What `spnas.morph` takes for a detector: a backbone and a pyramid, here one that nobody keeps."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        with torch.random.fork_rng(devices=[]):
            self.neck = FPN(backbone.channels, 1)


def _backbone_of(model: nn.Module) -> Backbone:
    found = model if isinstance(model, Backbone) else getattr(model, "backbone", None)
    if not isinstance(found, Backbone):
        raise UsageError(f"{type(model).__name__} has no backbone of ours; give a model that spnas.create_model made")
    return found
