"""Where a child is narrower than its parent: which channels it keeps, chosen on the parent's own activations."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from spnas.arch.move import Origins
from spnas.morph.choose import Moments, Need, choose, gain_of, moments_of, unknown
from spnas.morph.measure import hooked
from spnas.morph.mend import conv_names
from spnas.nets.backbone import Backbone

Kept = dict[str, Tensor]


def narrower(block: nn.Module, old: nn.Module) -> list[str]:
    """Return the names of the convolutions of a block that put out fewer channels than the parent's."""
    return [n for n in conv_names(block) if getattr(block, n)[0].out_channels < getattr(old, n)[0].out_channels]


def watch_narrowed(
    pairs: list[tuple[nn.Module, nn.Module]], parent: Backbone, pictures: Tensor
) -> dict[tuple[nn.Module, str], Moments]:
    """Measure those tensors of the parent that get narrower, after their ReLU, by block and convolution; `pairs` are
    the child's blocks and the parent's that they stand for."""
    wanted = {(old, name) for block, old in pairs for name in narrower(block, old)}
    seen: dict[tuple[nn.Module, str], Moments] = {}

    def note(key: tuple[nn.Module, str]) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[key] = moments_of(output if module is key[0] else inputs[0])

        return hook

    if wanted:
        hooks = [_maker(*key).register_forward_hook(note(key)) for key in wanted]
        with hooked(parent, hooks):
            parent(pictures)
    return seen


def _maker(block: nn.Module, name: str) -> nn.Module:
    """Return the module whose input is the tensor, or the block itself, whose output is."""
    names = conv_names(block)
    return block if name == names[-1] else cast(nn.Module, getattr(block, names[names.index(name) + 1])[0])


def keep_of(
    young: Backbone, old: Backbone, origins: Origins, neck: Any, seen: dict[tuple[nn.Module, str], Moments]
) -> list[Kept]:
    """Choose, for every block of the child's main net, the channels it keeps of each tensor that gets narrower."""
    blocks, former = young.blocks(), old.blocks()
    kept: list[Kept] = [{} for _ in blocks]
    opened: int | None = None  # the block whose output's channels the identity shortcuts after it are tied to
    needs: dict[int, list[Need]] = {}
    for n, (block, origin) in enumerate(zip(blocks, origins, strict=True)):
        if block.shortcut is not None:
            opened = None
        if origin is None:
            continue
        source, names = former[origin], conv_names(block)
        for name in narrower(block, source):
            if name != names[-1]:
                kept[n][name] = _keep_inside(block, source, name, seen)
            elif block.shortcut is not None:
                opened = n
        if opened is not None and _out_channels(source) == _out_channels(former[cast(int, origins[opened])]):
            moments = seen.get((source, names[-1])) or unknown(_out_channels(source))
            needs.setdefault(opened, []).append(Need(moments, _gain_of_output(old, origin, neck)))
    for n, wanted in needs.items():
        kept[n][conv_names(blocks[n])[-1]] = choose(wanted, _out_channels(blocks[n]))
    return kept


def _keep_inside(block: Any, source: Any, name: str, seen: dict[tuple[nn.Module, str], Moments]) -> Tensor:
    made, following = getattr(source, name)[0], getattr(source, conv_names(source)[conv_names(source).index(name) + 1])
    gain = gain_of(following[0].weight, _scale(following[1]), groups=following[0].groups)
    moments = seen.get((source, name)) or unknown(made.out_channels)
    groups = max(made.groups, following[0].groups)
    return choose([Need(moments, gain)], getattr(block, name)[0].out_channels, groups=groups)


def _gain_of_output(old: Backbone, number: int, neck: Any) -> Tensor:
    """Return (C, C): how much is made of a block's output by the next block and by the neck."""
    blocks: list[Any] = old.blocks()
    gain = torch.zeros(_out_channels(blocks[number]), _out_channels(blocks[number])).double()
    ends = [start - 1 for start in (*old.arch.starts, old.arch.block_count)]
    if number in ends:
        lateral = neck.lateral[ends.index(number)]
        gain += gain_of(lateral.weight, torch.ones(lateral.out_channels))
    if number + 1 < len(blocks):
        following = blocks[number + 1]
        for conv, norm in (following.conv1, *([following.shortcut] if following.shortcut is not None else [])):
            gain += gain_of(conv.weight, _scale(norm))
        if following.shortcut is None:
            gain += gain.diagonal().mean() * torch.eye(len(gain)).double()
    return gain


def _scale(norm: Any) -> Tensor:
    return cast(Tensor, norm.weight / (norm.running_var + norm.eps).sqrt())


def _out_channels(block: nn.Module) -> int:
    return int(getattr(block, conv_names(block)[-1])[0].out_channels)
