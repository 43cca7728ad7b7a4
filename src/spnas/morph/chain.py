"""Blocks, stages and stems: copied where parent and child have the same ones, begun as their shortcut where not."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spnas.morph.choose import Moments, reading
from spnas.morph.link import Link, first, follow, through
from spnas.morph.mend import Mend, Twin, conv_names


class Passage(NamedTuple):
    """A projection of the child's that begins as an identity in these rows, but for an offset (R,)."""

    shortcut: nn.Sequential
    rows: Tensor
    offset: Tensor


class Step(NamedTuple):
    """What becomes of one block: where its weights come from (None when it is new), and which channels are kept of
    its output and of its inner tensors, by the name of the convolution that makes them; all, where none is named."""

    source: nn.Module | None
    kept: dict[str, Tensor]


class Record(NamedTuple):
    """What was seen of the parent before, by block and name of a convolution, and what was done to the child since."""

    seen: dict[tuple[nn.Module, str], Moments]
    twins: list[Twin]
    passages: list[Passage]
    mends: list[Mend]


def copy_twin(young: Any, old: Any, rows: Link, columns: Link, record: Record) -> None:
    """Copy a convolution and its BN where rows pair; what was read and is lost comes from what is there."""
    grown, offset = follow(old[0].weight[rows.parent], columns, groups=old[0].groups)
    young[0].weight[rows.child] = grown
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(young[1], name)[rows.child] = getattr(old[1], name)[rows.parent]
    young[1].running_mean[rows.child] -= offset
    record.twins.append(Twin(young, old, rows))


def copy_stem(young: nn.Sequential, old: nn.Sequential, record: Record) -> Link:
    """Copy a stem, convolutions and norms in a row, and return how its output pairs."""
    link = first(3, 3)
    for i, module in enumerate(young):
        if isinstance(module, nn.Conv2d):
            former: Any = old[i]
            out = first(module.out_channels, former.out_channels)
            copy_twin(young[i : i + 2], old[i : i + 2], out, link, record)
            link = out
    return link


def fill_stage(blocks: nn.Sequential, steps: list[Step], link: Link, record: Record) -> Link:
    """Fill one stage, of the main net or of a copy, from the link of its input; return that of its output."""
    for block, step in zip(blocks, steps, strict=True):
        if step.source is None:
            link = begin_new(block, link, record)
        else:
            link = copy_block(block, step.source, link, step.kept, record)
    return link


def begin_new(block: Any, link: Link, record: Record) -> Link:
    """A new block is its shortcut: only its last BN weight is zero, so that the block learns from the first step."""
    nn.init.zeros_(block.last_norm.weight)
    if block.shortcut is None:
        return link
    out_channels = block.shortcut[0].out_channels
    count = min(out_channels, link.children)
    _pass_on(block.shortcut, torch.arange(count), torch.eye(count, link.children), torch.zeros(count), record)
    carried = link.child < count
    read = None
    if link.reading is not None:
        read = link.reading.new_zeros(link.parents, out_channels)
        read[:, :count] = link.reading[:, :count]
    return Link(link.child[carried], link.parent[carried], out_channels, link.parents, read, link.offset)


def copy_block(block: Any, old: Any, link: Link, kept: dict[str, Tensor], record: Record) -> Link:
    """Copy one block and return how the channels of its output pair.

    Raises: ValueError when the parent's block has a projection for which the child's has no room.
    """
    if block.shortcut is None and old.shortcut is not None:
        raise ValueError("a block was trained with a projection; build the child with those of `kept_projections`")
    if link.parents != old.conv1[0].in_channels:  # blocks between were left out, and a doubling with them
        link = first(link.children, old.conv1[0].in_channels)
    names = conv_names(block)
    inside = link
    for name, following in zip(names, [*names[1:], None], strict=True):
        young_conv, old_conv = getattr(block, name)[0], getattr(old, name)[0]
        groups = getattr(block, following)[0].groups if following else 1
        if following is None and block.shortcut is None:
            pairs = link  # an identity shortcut ties the output's channels to the input's
        elif name in kept:
            keep = kept[name]
            pairs = Link(torch.arange(len(keep)), keep, young_conv.out_channels, old_conv.out_channels)
        else:
            pairs = first(young_conv.out_channels, old_conv.out_channels, groups=max(groups, young_conv.groups))
        out = _as_seen(pairs, record.seen.get((old, name)), groups)
        copy_twin(getattr(block, name), getattr(old, name), out, inside, record)
        inside = out
    if block.shortcut is not None:
        _fill_shortcut(block, old, link, inside, record)
    return inside


def _fill_shortcut(block: Any, old: Any, link: Link, out: Link, record: Record) -> None:
    if old.shortcut is not None:
        copy_twin(block.shortcut, old.shortcut, out, link, record)
        return
    _pass_on(block.shortcut, *through(link, out), record)


def _pass_on(shortcut: Any, rows: Tensor, weights: Tensor, offset: Tensor, record: Record) -> None:
    """Make these rows of a projection an identity, as long as its BN does not go by the batch."""
    conv, norm = shortcut
    conv.weight[rows] = weights.to(conv.weight)[..., None, None]
    norm.weight[rows] = (norm.running_var[rows] + norm.eps).sqrt()
    norm.bias[rows] = norm.running_mean[rows] + offset.to(norm.bias)
    record.passages.append(Passage(shortcut, rows, offset))


def _as_seen(pairs: Link, seen: Moments | None, groups: int) -> Link:
    """Say how lost channels are read from the kept ones, where moments of this tensor are known."""
    if len(pairs.parent) == pairs.parents or seen is None:
        return pairs._replace(reading=None, offset=None)
    fitted, offset = reading(pairs.parent, seen, groups=groups)
    full = fitted.new_zeros(pairs.parents, pairs.children)
    full[:, pairs.child] = fitted
    return pairs._replace(reading=full, offset=offset)
