"""The datum: a backbone as a frozen value."""

import hashlib
import itertools
from functools import cached_property

import msgspec

STEMS = ("pool", "conv")
HARD_LIMIT_BLOCKS, HARD_LIMIT_STAGES, HARD_LIMIT_WIDTH, HARD_LIMIT_COPIES = 400, 8, 8192, 8


class Arch(msgspec.Struct, frozen=True, dict=True):
    """A chain of residual blocks of one kind, cut into stages, with parallel copies of stages.

    block: name on the shelf `nets.blocks`.
    stages: the width ("planes") of every block, stage by stage. Stage 1 has stride 4 after the stem, every
      further stage halves the resolution with the 3x3 convolution of its first block.
    copies: parallel copies of each stage, empty for a serial net.
    stem: "pool" is a 7x7 convolution and max-pooling, "conv" two strided 3x3 convolutions; its channels are
      the width of the first block.

    Raises: ValueError when the value is not a network at all (bounds of a search are `Space`'s business).
    """

    block: str
    stages: tuple[tuple[int, ...], ...]
    copies: tuple[int, ...] = ()
    stem: str = "pool"

    def __post_init__(self) -> None:
        if not self.stages or not all(self.stages):
            raise ValueError("an architecture needs at least one stage, and every stage at least one block")
        if len(self.stages) > HARD_LIMIT_STAGES or self.block_count > HARD_LIMIT_BLOCKS:
            raise ValueError(
                f"{len(self.stages)} stages and {self.block_count} blocks; "
                f"at most {HARD_LIMIT_STAGES} stages and {HARD_LIMIT_BLOCKS} blocks can be built"
            )
        if min(self.widths) < 1 or max(self.widths) > HARD_LIMIT_WIDTH:
            raise ValueError(f"block widths must lie in 1..{HARD_LIMIT_WIDTH}")
        if self.stem not in STEMS:
            raise ValueError(f"stem {self.stem!r} is not one of {', '.join(STEMS)}")
        if self.copies and len(self.copies) != len(self.stages):
            raise ValueError(f"{len(self.copies)} numbers of copies for {len(self.stages)} stages")
        if self.copies and not any(self.copies):
            msgspec.structs.force_setattr(self, "copies", ())
        if not all(0 <= n <= HARD_LIMIT_COPIES for n in self.copies):
            raise ValueError(f"copies of a stage must lie in 0..{HARD_LIMIT_COPIES}")

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """The width of every block, stages joined."""
        return tuple(itertools.chain.from_iterable(self.stages))

    @cached_property
    def block_count(self) -> int:
        """Blocks of the serial net, copies not counted."""
        return sum(map(len, self.stages))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Number of the first block of every stage but the first: where the resolution halves."""
        return tuple(itertools.accumulate(map(len, self.stages)))[:-1]

    @cached_property
    def doublings(self) -> tuple[int, ...]:
        """Number of every block from which on the width is another one than before."""
        widths = self.widths
        return tuple(i for i in range(1, len(widths)) if widths[i] != widths[i - 1])

    @cached_property
    def text(self) -> str:
        """The canonical notation, e.g. `bottleneck: 64x3 / 128x4 / 256x6 / 512x3`."""
        stages = (
            " ".join(f"{width}x{len(list(run))}" for width, run in itertools.groupby(stage)) for stage in self.stages
        )
        stem = "" if self.stem == "pool" else f" {self.stem}"
        copies = " + " + "-".join(map(str, self.copies)) if self.copies else ""
        return f"{self.block}{stem}: {' / '.join(stages)}{copies}"

    @cached_property
    def id(self) -> str:
        """Ten hexadecimal digits that stand for this value everywhere, today and tomorrow."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:10]

    def __str__(self) -> str:
        return self.text


def from_chain(
    block: str,
    widths: tuple[int, ...],
    starts: tuple[int, ...],
    *,
    copies: tuple[int, ...] = (),
    stem: str = "pool",
) -> Arch:
    """Cut a chain of blocks into stages before the blocks numbered `starts`."""
    edges = (0, *starts, len(widths))
    return Arch(block, tuple(widths[a:b] for a, b in itertools.pairwise(edges)), copies, stem)
