"""The pyramid of a child: old levels read what they read before, a new one adds nothing to them at first."""

from typing import Any, NamedTuple

import torch
from torch import nn

from spnas.morph.link import Link, follow


class End(NamedTuple):
    """How the output of one of the child's stages stands for a tensor of the parent's: `same` says whether that is
    what the parent's level read, and not the output of a block before or after it."""

    link: Link
    same: bool


def fill_neck(young: Any, old: Any, ends: list[End]) -> None:
    """Copy the pyramid; a new level begins as a copy of the coarsest old one."""
    last = len(old.lateral) - 1
    nn.init.zeros_(young.share[last:])
    young.share[:last] = old.share[: len(young.share)]
    for level, end in enumerate(ends):
        source = min(level, last)
        young.output[level].load_state_dict(old.output[source].state_dict())
        lateral, former = young.lateral[level], old.lateral[source]
        lateral.bias.copy_(former.bias)
        if end.same:
            weight, offset = follow(former.weight, end.link)
            lateral.weight.copy_(weight)
            lateral.bias.add_(offset)
        elif lateral.in_channels == former.in_channels:
            lateral.weight.copy_(former.weight)  # a block more or less, and hardly another tensor
        else:
            torch.nn.init.zeros_(lateral.weight)
