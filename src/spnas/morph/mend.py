"""Convolutions that are fitted anew where a child departs from its parent, in the order of its layers.

A block is mended from within to its end: its inner convolutions are to put out what the parent's did, and its last one
what is missing to the sum that the parent's block made, whatever the shortcut carries by then.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from spnas.morph.link import Link
from spnas.morph.ridge import refit

TOLERANCE = 1e-3  # a smaller departure, as a share of what is wanted, is rounding
DEAD = 1e-2  # a BN that scales by less than this share of its largest scale cannot be mended through


class Twin(NamedTuple):
    """A convolution with BN of the child's, the parent's it stands for, and the rows that pair."""

    young: nn.Sequential
    old: nn.Sequential
    rows: Link


class Mend(NamedTuple):
    """A block of the child's, the parent's it was, and the parent's whose output it should have: mostly the same."""

    block: nn.Module
    source: nn.Module
    target: nn.Module


Laterals = list[tuple[nn.Conv2d, nn.Conv2d]]  # of child and parent


def conv_names(block: nn.Module) -> list[str]:
    """Return the names of the convolutions on the residual path, in order."""
    return [name for name in ("conv1", "conv2", "conv3") if hasattr(block, name)]


def watch(mends: list[Mend], laterals: Laterals, wanted: dict[nn.Module, Tensor]) -> list[RemovableHandle]:
    """Hook into the parent so that `wanted` will hold what convolutions, and blocks before their ReLU, put out."""
    hooks = [old.register_forward_hook(_keep(wanted)) for _, old in laterals]
    for mend in mends:
        inside = [conv for conv, _ in _inner(mend.source)]
        hooks += [conv.register_forward_hook(_keep(wanted)) for conv in inside]
        hooks += [cast(nn.Module, mend.target.last_norm).register_forward_hook(_keep(wanted))]
        hooks += [mend.target.register_forward_hook(_keep_sum(wanted))]
    return hooks


def _inner(block: Any) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return all convolutions of a block but the last, with their norms."""
    parts = [getattr(block, name) for name in conv_names(block)[:-1]]
    return [tuple(part) for part in (*parts, block.shortcut) if part is not None]


def _keep(wanted: dict[nn.Module, Tensor]) -> Any:
    def hook(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        wanted[module] = output

    return hook


def _keep_sum(wanted: dict[nn.Module, Tensor]) -> Any:
    def hook(block: Any, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        wanted[block] = wanted[block.last_norm] + _shortcut(block, inputs[0])

    return hook


def _shortcut(block: Any, x: Tensor) -> Tensor:
    return x if block.shortcut is None else cast(Tensor, block.shortcut(x))


def repair(
    mends: list[Mend], laterals: Laterals, twins: Iterable[Twin], wanted: dict[nn.Module, Tensor], done: set[nn.Module]
) -> list[RemovableHandle]:
    """Hook into the child so that it is mended as it runs; `done` will hold the norms that need no other correction."""
    by_conv = {twin.young[0]: twin for twin in twins}
    hooks = [young.register_forward_hook(_repair_lateral(wanted[old])) for young, old in laterals]
    for mend in mends:
        for conv, _ in _inner(mend.block):
            if conv in by_conv:  # a shortcut that is new has no twin
                hooks.append(conv.register_forward_hook(_repair_inner(by_conv[conv], wanted)))
        last = getattr(mend.block, conv_names(mend.block)[-1])[0]
        entered: list[Tensor] = []
        hooks.append(mend.block.register_forward_pre_hook(_note_input(entered)))
        hooks.append(last.register_forward_hook(_repair_last(by_conv[last], mend, entered, wanted, done)))
    return hooks


def _note_input(entered: list[Tensor]) -> Any:
    def hook(_block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        entered[:] = [inputs[0]]

    return hook


def _repair_lateral(wanted: Tensor) -> Any:
    def hook(conv: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if _close(output, wanted):
            return None
        offset = refit(conv, inputs[0], wanted - output, scale=torch.ones_like(conv.bias))
        if offset is None:
            return None
        conv.bias += offset
        return cast(Tensor, conv._conv_forward(inputs[0], conv.weight, conv.bias))

    return hook


def _repair_inner(twin: Twin, wanted: dict[nn.Module, Tensor]) -> Any:
    def hook(_conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        scale = _scale(twin.young[1])
        now, then, step = _aligned(output, wanted[twin.old[0]])
        rows = twin.rows
        missed = torch.zeros_like(now)
        missed[:, rows.child] = (then[:, rows.parent] - now[:, rows.child]) * scale[rows.child, None, None]
        if _small(missed, now * scale[:, None, None]):
            return None
        return _apply(twin, inputs[0], missed, scale, step)

    return hook


def _repair_last(
    twin: Twin, mend: Mend, entered: list[Tensor], wanted: dict[nn.Module, Tensor], done: set[nn.Module]
) -> Any:
    def hook(_conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        norm: Any = twin.young[1]
        scale = _scale(norm)
        shortcut = _shortcut(mend.block, entered[0])
        total = (output - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None] + shortcut
        now, then, step = _aligned(total, wanted[mend.target])
        rows = twin.rows
        missed = torch.zeros_like(now)
        missed[:, rows.child] = then[:, rows.parent] - now[:, rows.child]
        if _small(missed, now):
            return None
        mended = _apply(twin, inputs[0], missed, scale, step)
        if mended is not None:
            done.add(norm)
        return mended

    return hook


def _apply(twin: Twin, x: Tensor, missed: Tensor, scale: Tensor, step: int) -> Tensor | None:
    """Fit a convolution so that its BN puts out `missed` besides, and return what it puts out then."""
    conv, norm = cast(Any, twin.young)
    alive = scale.abs() > DEAD * scale.abs().max()
    missed = missed * alive[:, None, None]
    offset = refit(conv, x, missed, scale=torch.where(alive, scale, 1.0), step=step)
    if offset is None:
        return None
    norm.running_mean -= offset
    return cast(Tensor, conv._conv_forward(x, conv.weight, None))


def _scale(norm: Any) -> Tensor:
    return cast(Tensor, norm.weight / (norm.running_var + norm.eps).sqrt())


def _close(a: Tensor, b: Tensor) -> bool:
    return _small(a - b, b)


def _small(missed: Tensor, whole: Tensor) -> bool:
    return bool(missed.square().mean() <= TOLERANCE**2 * whole.square().mean())


def _aligned(now: Tensor, then: Tensor) -> tuple[Tensor, Tensor, int]:
    """Cut two outputs of the same picture to places they share, and say in which steps the first was cut."""
    step, back = max(1, round(now.shape[-1] / then.shape[-1])), max(1, round(then.shape[-1] / now.shape[-1]))
    now, then = now[..., ::step, ::step], then[..., ::back, ::back]
    height, width = min(now.shape[-2], then.shape[-2]), min(now.shape[-1], then.shape[-1])
    return now[..., :height, :width], then[..., :height, :width], step
