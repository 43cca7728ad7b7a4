"""A backbone as the sum of its pieces: what every cost that adds up is counted, timed and cached by.

A stage depends on nothing but its block kind, its widths, the width before it and the size of what comes in; so a
search, whose children share all but a stage or two with their parents, looks most stages up.
"""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spnas.arch import Arch
from spnas.nets.backbone import build_stem, plan
from spnas.nets.blocks import block_kind
from spnas.nets.parallel import fusion

Size = tuple[int, int]  # height and width in pixels
STEM_STRIDE = 4


class Piece(NamedTuple):
    """A stem, a block, or the way back of a copy, with the size of what comes in; equal pieces cost the same.

    kind: of the stem or the block, empty for a fusion. width: of a block; else the channels that come out.
    back: the size to which a fusion brings its input.
    """

    part: Literal["stem", "block", "fusion"]
    kind: str
    in_channels: int
    width: int
    stride: int
    projection: bool
    size: Size
    back: Size = (0, 0)

    @property
    def text(self) -> str:
        """A name to keep measurements under, e.g. `block basic 16>32 /2 40x60`."""
        shape = f"{self.in_channels}>{self.width} /{self.stride}{' projection' if self.projection else ''}"
        return " ".join([self.part, self.kind or "-", shape, f"{self.size[1]}x{self.size[0]}"])


class Stage(NamedTuple):
    """A stage with the size of what comes in; `before` is the width of the block before it, None after the stem.

    kept: positions in the stage of blocks with a projection that their shape does not ask for.
    """

    block: str
    before: int | None
    widths: tuple[int, ...]
    kept: tuple[int, ...]
    size: Size


class Layout(NamedTuple):
    """All pieces of a backbone: stem, stages, and for every stage with copies its number, their count and fusion."""

    stem: Piece
    stages: list[Stage]
    copies: list[tuple[int, int, Piece]]


def lay_out(arch: Arch, size: Size, projections: frozenset[int] = frozenset()) -> Layout:
    """Take `arch` apart at this input size; `projections` as in `nets.backbone.plan`.

    Raises: UsageError when a width does not suit the block kind.
    """
    stem = Piece("stem", arch.stem, 3, arch.stages[0][0], STEM_STRIDE, False, size)
    sizes, before, first = [size_after(stem)], None, 0
    stages = list[Stage]()
    for widths in arch.stages:
        kept: tuple[int, ...] = ()
        if projections:
            kept = tuple(n - first for n in sorted(projections) if first <= n < first + len(widths))
        stages.append(Stage(arch.block, before, widths, kept, sizes[-1]))
        sizes.append(_size_after_stage(stages[-1]))
        before, first = widths[-1], first + len(widths)
    if not arch.copies:
        return Layout(stem, stages, [])
    expansion = _expansion(arch.block)
    channels = (arch.stages[0][0], *(widths[-1] * expansion for widths in arch.stages))
    copies = [
        (s, n, Piece("fusion", "", channels[s + 1], channels[s], 1, False, sizes[s + 1], back=sizes[s]))
        for s, n in enumerate(arch.copies)
        if n
    ]
    return Layout(stem, stages, copies)


@lru_cache(maxsize=65536)
def blocks_of(stage: Stage) -> tuple[tuple[Piece, int], ...]:
    """Return the distinct blocks of a stage and how many there are of each."""
    stages = (stage.widths,) if stage.before is None else ((stage.before,), stage.widths)
    skipped = len(stages) - 1  # the lone block that stands for everything before the stage
    planned = list(plan(Arch(stage.block, stages), frozenset(n + skipped for n in stage.kept)))[skipped:]
    size, found = stage.size, list[Piece]()
    for p in planned:
        found.append(Piece("block", stage.block, p.in_channels, p.width, p.stride, p.projection, size))
        size = size_after(found[-1])
    return tuple(Counter(found).items())


@lru_cache(maxsize=64)
def _expansion(block: str) -> int:
    return block_kind(block).EXPANSION


@lru_cache(maxsize=65536)
def _size_after_stage(stage: Stage) -> Size:
    """Only the first block of a stage has a stride."""
    return size_after(blocks_of(stage)[0][0])


def build(piece: Piece) -> nn.Module:
    """Make the module, from one tensor to one, that `piece` stands for."""
    if piece.part == "stem":
        return build_stem(piece.kind, piece.width)
    if piece.part == "fusion":
        return Fused(fusion(piece.in_channels, piece.width), piece.back)
    return block_kind(piece.kind).build(
        piece.in_channels, piece.width, stride=piece.stride, projection=piece.projection
    )


def without_norms(module: nn.Module, stand_in: Callable[[nn.BatchNorm2d], nn.Module]) -> nn.Module:
    """Put something in the place of every BN of `module`: on the meta device a BN takes most of the time."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, stand_in(child))
    return module


class Fused(nn.Module):
    """The way back of a copy: fusion, upsampling, and a sum."""

    def __init__(self, fusion: nn.Module, back: Size) -> None:
        super().__init__()
        self.fusion, self.back = fusion, back

    def forward(self, y: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, width, *back)."""
        up = F.interpolate(self.fusion(y), size=self.back, mode="nearest")
        return up + up  # stands for the sum with what goes into the main net's stage


@lru_cache(maxsize=65536)
def size_after(piece: Piece) -> Size:
    """Return the height and width of what comes out."""
    if piece.part == "fusion":
        return piece.back
    if piece.part == "stem":
        return _size_after(piece._replace(width=1))
    kind = block_kind(piece.kind)  # how wide a block is does not matter: a thin one is run in its stead
    channels = kind.WIDTH_STEP * kind.EXPANSION
    return _size_after(piece._replace(in_channels=channels, width=kind.WIDTH_STEP, projection=False))


@lru_cache(maxsize=65536)
def _size_after(piece: Piece) -> Size:
    with torch.device("meta"), torch.no_grad():
        y = build(piece).eval()(torch.empty(1, piece.in_channels, *piece.size))
    return y.shape[-2], y.shape[-1]
