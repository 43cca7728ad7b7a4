"""A child starts from its parent's weights: backbone, copies, neck and head.

Source: network morphism (Wei et al., ICML 2016; Chen et al., Net2Net, ICLR 2016), as SP-NAS uses it in its serial
phase. We differ from the authors' release, where every BN weight of a new block is zero (such a block never learns),
a moved boundary gets a shortcut that carries nothing, copies share the main net's module, and neck and head start
anew: here a new part is exact and learns, a moved boundary starts from a strided identity, and all is inherited.

Exact are: new blocks; new stages, for the levels that were there; earlier doublings; new copies, unless the next
stage has a copy of that number, and it is not the first. Three rules make them so. A block that was trained with a
projection shortcut keeps it, also where its new place would not need one (`kept_projections`). Where a tensor grows,
what is new is read by nothing that was there: new rows are random, new columns zero. And what joins two old tensors
(a fusion, a new level's share) begins with a weight of zero, while what stands before it does not, so that gradients
reach all of it within three steps.

All other moves are approximate: their convolutions are copied, and what a picture can tell is measured on pictures.
"""

import itertools
from typing import Any, cast

import torch
from torch import Tensor, nn

from spnas.arch import Arch
from spnas.arch.move import Origins
from spnas.morph.backbone import fill_backbone, runs_of
from spnas.morph.chain import Record
from spnas.morph.measure import departure
from spnas.morph.narrow import keep_of, watch_narrowed
from spnas.morph.neck import fill_neck
from spnas.morph.settle import settle
from spnas.nets.backbone import Backbone, plan
from spnas.nets.blocks import block_kind

__all__ = ["departure", "inherit", "kept_projections"]


def kept_projections(parent: Backbone, child: Arch, origins: Origins) -> frozenset[int]:
    """Return the numbers of the child's blocks whose shortcut stays a projection because it was trained as one."""
    had = {number for number, block in enumerate(parent.blocks()) if block.shortcut is not None}
    expansion = block_kind(child.block).EXPANSION
    needs = {p.number for p in plan(child) if p.stride == 2 or p.in_channels != p.width * expansion}
    return frozenset(i for i, origin in enumerate(origins) if origin in had and i not in needs)


@torch.no_grad()
def inherit(child: nn.Module, parent: nn.Module, origins: Origins, *, pictures: Tensor | None = None) -> None:
    """Fill `child`, a detector as it was built, with the weights of `parent`, a detector of the same kind.

    pictures: (N, 3, H, W), a batch to measure on what a move changes; moves that are exact need none in evaluation
    mode. Without, the identities that new projections begin with hold in evaluation mode only, and moves that are
    not exact start from worse.

    Raises: ValueError when `child` lacks the projections of `kept_projections`.
    """
    young, old, neck = cast(Backbone, child.backbone), cast(Backbone, parent.backbone), cast(Any, parent.neck)
    runs = runs_of(young, old, origins)
    pairs = [
        (block, source)
        for run in itertools.chain.from_iterable(runs)
        for block, source in zip(run.blocks, run.sources, strict=True)
        if source is not None
    ]
    seen = watch_narrowed(pairs, old, pictures) if pictures is not None else {}
    kept = keep_of(young, old, origins, neck, seen)
    record = Record(seen, [], [], [])
    ends = fill_backbone(young, old, origins, runs, kept, record)
    fill_neck(child.neck, neck, ends)
    rest = {k: v for k, v in parent.state_dict().items() if not k.startswith(("backbone.", "neck."))}
    child.load_state_dict(rest, strict=False)
    if pictures is not None:
        settle(child, parent, record, pictures)
