"""How a tensor of the child stands for one of the parent, and how a convolution that reads it follows."""

from typing import NamedTuple

import torch
from torch import Tensor


class Link(NamedTuple):
    """Channel `child[i]` is the parent's channel `parent[i]`.

    A channel of the child's without a partner is new, and nothing that was there before reads it. A channel of the
    parent's without a partner is lost: `reading` (P, C) and `offset` (P,) give the parent's channels as well as the
    child's can tell; they are None where nothing is lost, so that the link is exact.
    """

    child: Tensor
    parent: Tensor
    children: int
    parents: int
    reading: Tensor | None = None
    offset: Tensor | None = None


def first(children: int, parents: int, *, groups: int = 1) -> Link:
    """Link the first channels of every group; what is lost is read as nothing."""
    young, old = children // groups, parents // groups
    within, group = torch.arange(min(young, old)), torch.arange(groups)[:, None]
    return Link((group * young + within).flatten(), (group * old + within).flatten(), children, parents)


def matrix(link: Link, like: Tensor) -> Tensor:
    """Return (P, C): the parent's channels from the child's."""
    if link.reading is not None:
        return link.reading.to(like)
    selection = like.new_zeros(link.parents, link.children)
    selection[link.parent, link.child] = 1
    return selection


def follow(weight: Tensor, link: Link, *, groups: int = 1) -> tuple[Tensor, Tensor]:
    """Turn a weight (O, P / groups, h, w) that reads the parent's tensor into one that reads the child's, and return
    what it misses by on the average (O,), borders not counted."""
    out = weight.shape[0]
    if groups == 1 and link.reading is None:
        grown = weight.new_zeros(out, link.children, *weight.shape[2:])
        grown[:, link.child] = weight[:, link.parent]
        return grown, weight.new_zeros(out)
    reading = matrix(link, weight).reshape(groups, link.parents // groups, groups, -1)
    within = reading[torch.arange(groups), :, torch.arange(groups)]  # a group reads its own channels only
    cut = weight.reshape(groups, out // groups, *weight.shape[1:])
    grown = torch.einsum("gophw,gpc->gochw", cut, within).reshape(out, -1, *weight.shape[2:])
    if link.offset is None:
        return grown, weight.new_zeros(out)
    offset = link.offset.to(weight).reshape(groups, -1)
    return grown, torch.einsum("gophw,gp->go", cut, offset).reshape(out)


def through(link: Link, out: Link) -> tuple[Tensor, Tensor, Tensor]:
    """Say how an identity shortcut is made of a projection: rows of the child's (R,), their weights (R, C) and offsets
    (R,), where `link` is its input and `out` its output."""
    like = link.reading if link.reading is not None else torch.zeros(())
    weights = matrix(link, like)[out.parent]
    offset = link.offset if link.offset is not None else torch.zeros(link.parents)
    return out.child, weights, offset[out.parent]
