"""The small steps a search takes from one architecture to another.

Source: SP-NAS, section on the serial phase; `swap` and `expand` are the paper's names. We differ from the
authors' release in that doublings move too, and that a move says which block of the child was which block of the
parent, so that weights can follow.
"""

import itertools
from collections.abc import Callable, Iterator

import msgspec

from spnas.arch.arch import Arch, from_chain
from spnas.errors import UsageError

LONGEST_SWAP = 3
MOST_NEW_BLOCKS = 2


class Move(msgspec.Struct, frozen=True, order=True):
    """One move: its kind, where (a stage, a doubling or a block, counted from 0) and by how many blocks.

    kinds: "swap-boundary" (at: stage whose start moves, by: blocks later, negative earlier), "swap-doubling"
    (at: which doubling, by: blocks later), "expand-block" (at: number of the block that is repeated, by: how many
    new ones follow it), "expand-stage" (appends a stage of one block; at and by are 0).
    """

    kind: str
    at: int = 0
    by: int = 0

    def __str__(self) -> str:
        match self.kind:
            case "swap-boundary":
                return f"stage {self.at + 1} starts {_blocks(self.by)}"
            case "swap-doubling":
                return f"width doubling {self.at + 1} moves {_blocks(self.by)}"
            case "expand-block":
                return f"{self.by} new after block {self.at + 1}"
            case _:
                return "a stage appended"


def _blocks(by: int) -> str:
    return f"{abs(by)} block{'s' if abs(by) > 1 else ''} {'later' if by > 0 else 'earlier'}"


Origins = tuple[int | None, ...]  # for every block of the child: the block of the parent it was, or None when new


def apply(arch: Arch, move: Move) -> Arch:
    """Return the architecture after `move`.

    Raises: UsageError when the move cannot be made from here.
    """
    if move.kind not in _MOVES:
        raise UsageError(f"move {move.kind!r} is not one of {', '.join(_MOVES)}")
    child = _MOVES[move.kind](arch, move.at, move.by)
    if child is None:
        raise UsageError(f"cannot make the move '{move}' from {arch.text!r}")
    return child


def apply_all(arch: Arch, moves: tuple[Move, ...]) -> Arch:
    """Return the architecture after `moves`, one after the other."""
    for move in moves:
        arch = apply(arch, move)
    return arch


def _swap_boundary(arch: Arch, at: int, by: int) -> Arch | None:
    starts = list(arch.starts)
    if not 1 <= at <= len(starts) or by == 0:
        return None
    edges = [0, *starts, arch.block_count]
    edges[at] += by
    if not edges[at - 1] < edges[at] < edges[at + 1]:
        return None
    return from_chain(arch.block, arch.widths, tuple(edges[1:-1]), copies=arch.copies, stem=arch.stem)


def _swap_doubling(arch: Arch, at: int, by: int) -> Arch | None:
    edges = [0, *arch.doublings, arch.block_count]
    if not 1 <= at + 1 < len(edges) - 1 or by == 0:
        return None
    levels = [arch.widths[edge] for edge in edges[:-1]]
    edges[at + 1] += by
    if not edges[at] < edges[at + 1] < edges[at + 2]:
        return None
    widths = itertools.chain.from_iterable(
        (width,) * (b - a) for width, (a, b) in zip(levels, itertools.pairwise(edges), strict=True)
    )
    return from_chain(arch.block, tuple(widths), arch.starts, copies=arch.copies, stem=arch.stem)


def _expand_block(arch: Arch, at: int, by: int) -> Arch | None:
    if not 0 <= at < arch.block_count or not 1 <= by <= MOST_NEW_BLOCKS:
        return None
    widths = arch.widths[: at + 1] + (arch.widths[at],) * by + arch.widths[at + 1 :]
    starts = tuple(start + by if start > at else start for start in arch.starts)
    return from_chain(arch.block, widths, starts, copies=arch.copies, stem=arch.stem)


def _expand_stage(arch: Arch, at: int, by: int) -> Arch | None:
    if at or by:
        return None
    copies = (*arch.copies, 0) if arch.copies else ()
    return Arch(arch.block, (*arch.stages, (arch.widths[-1],)), copies, arch.stem)


_MOVES: dict[str, Callable[[Arch, int, int], Arch | None]] = {
    "swap-boundary": _swap_boundary,
    "swap-doubling": _swap_doubling,
    "expand-block": _expand_block,
    "expand-stage": _expand_stage,
}


def neighbours(arch: Arch) -> Iterator[Move]:
    """Yield every move that can be made from `arch`, bounds of a space not looked at."""
    steps = [by for by in range(-LONGEST_SWAP, LONGEST_SWAP + 1) if by]
    for at, by in itertools.product(range(1, len(arch.stages)), steps):
        if _swap_boundary(arch, at, by):
            yield Move("swap-boundary", at, by)
    for at, by in itertools.product(range(len(arch.doublings)), steps):
        if _swap_doubling(arch, at, by):
            yield Move("swap-doubling", at, by)
    last_of_run = [i for i in range(arch.block_count) if i + 1 == arch.block_count or _new_run(arch, i + 1)]
    for at, by in itertools.product(last_of_run, range(1, MOST_NEW_BLOCKS + 1)):
        yield Move("expand-block", at, by)
    yield Move("expand-stage")


def _new_run(arch: Arch, block: int) -> bool:
    """Whether `block` opens a stage or a width: repeating any block of one run gives the same architecture."""
    return block in arch.starts or arch.widths[block] != arch.widths[block - 1]


def origins(arch: Arch, moves: tuple[Move, ...]) -> Origins:
    """Say for every block of the child which block of `arch` it was before `moves`, None for a new one."""
    known: list[int | None] = list(range(arch.block_count))
    for move in moves:
        if move.kind == "expand-block":
            known[move.at + 1 : move.at + 1] = [None] * move.by
        elif move.kind == "expand-stage":
            known.append(None)
    return tuple(known)
