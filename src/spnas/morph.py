"""A child starts from its parent's weights: backbone, neck and head.

Source: network morphism (Wei et al., ICML 2016; Chen et al., Net2Net, ICLR 2016), as SP-NAS uses it in its serial
phase. We differ from the authors' release, where every BN weight of a new block is zero (such a block never learns),
a moved boundary gets a shortcut that carries nothing, and neck and head start anew: here a new block is exact and
learns, a moved boundary starts from a strided identity, and all parts are inherited.

Two rules make moves exact. A block that was trained with a projection shortcut keeps it, also where its new place
would not need one (`kept_projections`). And where a tensor grows, what the child adds reads and feeds nothing yet:
new rows are random, new columns zero, so that the old function is kept and the new part learns from the second step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from spnas.arch import Arch
from spnas.arch.move import Origins
from spnas.nets.backbone import Backbone, plan


class Pairs(NamedTuple):
    """Which channel of the child's tensor was which channel of the parent's: two index vectors of equal length."""

    child: Tensor
    parent: Tensor


def kept_projections(parent: Backbone, child: Arch, origins: Origins) -> frozenset[int]:
    """Return the numbers of the child's blocks whose shortcut stays a projection because it was trained as one."""
    had = {number for number, block in enumerate(parent.blocks()) if block.shortcut is not None}
    needs = {p.number for p in plan(child) if p.stride == 2 or _changes_channels(parent, p.in_channels, p.width)}
    return frozenset(i for i, origin in enumerate(origins) if origin in had and i not in needs)


def _changes_channels(parent: Backbone, in_channels: int, width: int) -> bool:
    expansion = parent.channels[0] // parent.arch.stages[0][-1]
    return in_channels != width * expansion


@torch.no_grad()
def inherit(child: nn.Module, parent: nn.Module, origins: Origins, *, pictures: Tensor | None = None) -> None:
    """Fill `child`, a detector as it was built, with the weights of `parent`, a detector of the same kind.

    pictures: (N, 3, H, W), a batch to measure the inputs of strided identity shortcuts on, so that they are an
    identity in training mode too; without, they are one in evaluation mode only.
    """
    young, old = cast(Backbone, child.backbone), cast(Backbone, parent.backbone)
    statistics = _input_statistics(old, pictures) if pictures is not None else {}
    _copy_chain(young.stem, old.stem)
    old_blocks = old.blocks()
    stream = _same(min(young.arch.widths[0], old.arch.widths[0]))
    ends: list[Pairs] = []
    number = 0
    for stage in cast(Any, young.stages):
        for block in stage:
            origin = origins[number]
            number += 1
            if origin is None:
                _start_new(block)
            else:
                stream = _copy_block(block, old_blocks[origin], stream, statistics.get(origin))
        ends.append(stream)
    _copy_neck(cast(Any, child.neck), cast(Any, parent.neck), ends)
    rest = {k: v for k, v in parent.state_dict().items() if not k.startswith(("backbone.", "neck."))}
    child.load_state_dict(rest, strict=False)


def _start_new(block: Any) -> None:
    """A new block is its shortcut: zero the last BN weight only, so that the block learns from the first step."""
    nn.init.zeros_(block.last_norm.weight)
    if block.shortcut is not None:
        _strided_identity(block.shortcut, _same(block.shortcut[0].in_channels), None)


def _same(count: int) -> Pairs:
    index = torch.arange(count)
    return Pairs(index, index)


def _grouped(groups: int, child_width: int, parent_width: int) -> Pairs:
    """Pair channels of a tensor that is cut into groups: the first ones of every group."""
    young, old = child_width // groups, parent_width // groups
    within = torch.arange(min(young, old))
    group = torch.arange(groups)[:, None]
    return Pairs((group * young + within).flatten(), (group * old + within).flatten())


def _copy_block(block: Any, old: Any, stream: Pairs, statistics: tuple[Tensor, Tensor] | None) -> Pairs:
    """Copy one block and return how the channels of its output pair."""
    names = [name for name in ("conv1", "conv2", "conv3") if hasattr(block, name)]
    out_channels = getattr(block, names[-1])[0].out_channels, getattr(old, names[-1])[0].out_channels
    out = _output_pairs(stream, block, old, out_channels)
    inside = stream
    for name in names:
        young_conv, old_conv = getattr(block, name)[0], getattr(old, name)[0]
        following = getattr(block, names[min(names.index(name) + 1, len(names) - 1)])[0]
        if name == names[-1]:
            rows = out
        else:
            groups = max(young_conv.groups, following.groups)
            rows = _grouped(groups, young_conv.out_channels, old_conv.out_channels)
        _copy_norm_conv(getattr(block, name), getattr(old, name), rows, inside)
        inside = rows
    if block.shortcut is not None:
        if old.shortcut is not None:
            _copy_norm_conv(block.shortcut, old.shortcut, out, stream)
        else:
            _strided_identity(block.shortcut, _through(stream, out), statistics)
    return out


def _output_pairs(stream: Pairs, block: Any, old: Any, channels: tuple[int, int]) -> Pairs:
    """An identity shortcut on both sides ties the output's channels to the input's; else the first ones pair."""
    if block.shortcut is None and old.shortcut is None:
        return stream
    return _same(min(channels))


def _through(stream: Pairs, out: Pairs) -> Pairs:
    """Return (out channel, in channel) of the child that stand for one and the same channel of the parent."""
    where = {int(p): int(c) for c, p in zip(*stream, strict=True)}
    both = [(int(c), where[int(p)]) for c, p in zip(*out, strict=True) if int(p) in where]
    index = torch.tensor(both, dtype=torch.long).reshape(-1, 2)
    return Pairs(index[:, 0], index[:, 1])


def _copy_chain(young: nn.Sequential, old: nn.Sequential) -> None:
    """Copy a stem: convolutions and norms in a row."""
    rows = _same(3)
    for i, module in enumerate(young):
        if isinstance(module, nn.Conv2d):
            former = cast(nn.Conv2d, old[i])
            out = _same(min(module.out_channels, former.out_channels))
            _copy_norm_conv(nn.Sequential(module, young[i + 1]), nn.Sequential(former, old[i + 1]), out, rows)
            rows = out


def _copy_norm_conv(young: nn.Sequential, old: nn.Sequential, rows: Pairs, columns: Pairs) -> None:
    """Copy a convolution and its BN where channels pair: new rows stay random, new columns of old rows become zero."""
    _copy_weight(cast(nn.Conv2d, young[0]), cast(nn.Conv2d, old[0]), rows, columns)
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(young[1], name)[rows.child] = getattr(old[1], name)[rows.parent]


def _copy_weight(young: nn.Conv2d, old: nn.Conv2d, rows: Pairs, columns: Pairs) -> None:
    if young.groups > 1:  # columns count within a group, and the first ones of every group pair
        columns = _same(min(young.weight.shape[1], old.weight.shape[1]))
    grown = torch.zeros_like(young.weight[rows.child])
    grown[:, columns.child] = old.weight[rows.parent][:, columns.parent]
    young.weight[rows.child] = grown


def _strided_identity(shortcut: Any, pairs: Pairs, statistics: tuple[Tensor, Tensor] | None) -> None:
    """Make a projection pass these (out, in) channels on unchanged: BN undoes itself on the inputs it will see."""
    conv, norm = shortcut[0], shortcut[1]
    conv.weight[pairs.child] = 0
    conv.weight[pairs.child, pairs.parent] = 1
    if statistics is not None:
        mean, variance = statistics
        inside = pairs.parent < len(mean)
        out, source = pairs.child[inside], pairs.parent[inside]
        norm.running_mean[out] = mean[source]
        norm.running_var[out] = variance[source]
    norm.bias[pairs.child] = norm.running_mean[pairs.child]
    norm.weight[pairs.child] = (norm.running_var[pairs.child] + norm.eps).sqrt()


def _copy_neck(young: Any, old: Any, ends: list[Pairs]) -> None:
    """Copy the pyramid; a new level adds nothing to the old ones at first, and its output starts as a copy."""
    last = len(old.lateral) - 1
    for level, stream in enumerate(ends):
        source = min(level, last)
        young.output[level].load_state_dict(old.output[source].state_dict())
        if level > last:
            nn.init.zeros_(young.lateral[level].weight)
            nn.init.zeros_(young.lateral[level].bias)
            continue
        _copy_weight(young.lateral[level], old.lateral[level], _same(young.lateral[level].out_channels), stream)
        young.lateral[level].bias.copy_(old.lateral[level].bias)


def _input_statistics(backbone: Backbone, pictures: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    """Measure mean and variance of every block's input channels, in evaluation mode, on `pictures`."""
    found: dict[int, tuple[Tensor, Tensor]] = {}

    def watch(number: int) -> Any:
        def note(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].float()
            found[number] = (x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0))

        return note

    hooks = [block.register_forward_pre_hook(watch(i)) for i, block in enumerate(backbone.blocks())]
    with _evaluating(backbone):
        backbone(pictures)
    for hook in hooks:
        hook.remove()
    return found


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    was_training = module.training
    module.eval()
    yield
    module.train(was_training)
