"""The small steps a search takes from one architecture to another.

Source: SP-NAS, sections on the serial and the parallel phase; `swap` and `expand` are the paper's names. We differ
from the authors' release in that doublings move too, that nets can shrink as well (a budget needs both ways), that
copies come and go one at a time, and that a move says which block of the child was which block of the parent, so that
weights can follow.
"""

import itertools
from collections.abc import Callable, Iterator

import msgspec

from spnas.arch.arch import HARD_LIMIT_BLOCKS, HARD_LIMIT_COPIES, HARD_LIMIT_STAGES, Arch, from_chain
from spnas.errors import UsageError

LONGEST_SWAP = 3
MOST_NEW_BLOCKS = 2

SERIAL = ("swap-boundary", "swap-doubling", "expand-block", "expand-stage")
SHRINKING = ("remove-block", "narrow")
PARALLEL = ("add-copy", "remove-copy")
KINDS = SERIAL + SHRINKING + PARALLEL


class Move(msgspec.Struct, frozen=True, order=True):
    """One move: its kind, where (a stage, a doubling or a block, counted from 0) and by how many blocks.

    kinds: "swap-boundary" (at: stage whose start moves, by: blocks later, negative earlier), "swap-doubling"
      (at: which doubling, by: blocks later), "expand-block" (at: number of the block that is repeated, by: how many
      new ones follow it), "expand-stage" (appends a stage of one block; at and by are 0), "remove-block" (at: block),
      "narrow" (at: a doubling that moves later as far as its stage goes, so that the stage loses it), "add-copy" and
      "remove-copy" (at: stage). What has no use for `by` wants it 0.
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
            case "remove-block":
                return f"block {self.at + 1} removed"
            case "narrow":
                return f"width doubling {self.at + 1} moves to the end of its stage"
            case "add-copy":
                return f"a copy of stage {self.at + 1} added"
            case "remove-copy":
                return f"a copy of stage {self.at + 1} removed"
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


def _narrow(arch: Arch, at: int, by: int) -> Arch | None:
    doublings = arch.doublings
    if not 0 <= at < len(doublings) or by:
        return None
    now = doublings[at]
    after_stage = min((start for start in arch.starts if start > now), default=arch.block_count - 1)
    latest = doublings[at + 1] - 1 if at + 1 < len(doublings) else arch.block_count - 1
    return _swap_doubling(arch, at, min(after_stage, latest) - now)


def _expand_block(arch: Arch, at: int, by: int) -> Arch | None:
    if not 0 <= at < arch.block_count or not 1 <= by <= MOST_NEW_BLOCKS or arch.block_count + by > HARD_LIMIT_BLOCKS:
        return None
    widths = arch.widths[: at + 1] + (arch.widths[at],) * by + arch.widths[at + 1 :]
    starts = tuple(start + by if start > at else start for start in arch.starts)
    return from_chain(arch.block, widths, starts, copies=arch.copies, stem=arch.stem)


def _expand_stage(arch: Arch, at: int, by: int) -> Arch | None:
    if at or by or len(arch.stages) == HARD_LIMIT_STAGES or arch.block_count == HARD_LIMIT_BLOCKS:
        return None
    copies = (*arch.copies, 0) if arch.copies else ()
    return Arch(arch.block, (*arch.stages, (arch.widths[-1],)), copies, arch.stem)


def _remove_block(arch: Arch, at: int, by: int) -> Arch | None:
    """Neither the last block of a stage nor the last one of a width: what is left doubles as often as before."""
    if not 0 <= at < arch.block_count or by:
        return None
    edges = (0, *arch.starts, arch.block_count)
    alone = any(b - a == 1 for a, b in itertools.pairwise(edges) if a <= at < b)
    if alone or arch.widths.count(arch.widths[at]) == 1:
        return None
    starts = tuple(start - 1 if start > at else start for start in arch.starts)
    return from_chain(arch.block, arch.widths[:at] + arch.widths[at + 1 :], starts, copies=arch.copies, stem=arch.stem)


def _add_copy(arch: Arch, at: int, by: int) -> Arch | None:
    return None if by else _with_copies(arch, at, +1)


def _remove_copy(arch: Arch, at: int, by: int) -> Arch | None:
    return None if by else _with_copies(arch, at, -1)


def _with_copies(arch: Arch, stage: int, more: int) -> Arch | None:
    copies = list(arch.copies or (0,) * len(arch.stages))
    if not 0 <= stage < len(copies) or not 0 <= copies[stage] + more <= HARD_LIMIT_COPIES:
        return None
    copies[stage] += more
    return Arch(arch.block, arch.stages, tuple(copies), arch.stem)


_MOVES: dict[str, Callable[[Arch, int, int], Arch | None]] = {
    "swap-boundary": _swap_boundary,
    "swap-doubling": _swap_doubling,
    "expand-block": _expand_block,
    "expand-stage": _expand_stage,
    "remove-block": _remove_block,
    "narrow": _narrow,
    "add-copy": _add_copy,
    "remove-copy": _remove_copy,
}


def neighbours(arch: Arch, *, kinds: tuple[str, ...] = SERIAL) -> Iterator[Move]:
    """Yield every move of these kinds that can be made from `arch`, bounds of a space not looked at."""
    for kind in kinds:
        for at, by in _places(arch, kind):
            yield Move(kind, at, by)


def _places(arch: Arch, kind: str) -> Iterator[tuple[int, int]]:
    """Yield every place and number of blocks where a move of this kind can be made, without making it."""
    count, stages = arch.block_count, range(len(arch.stages))
    match kind:
        case "swap-boundary":
            yield from _room((0, *arch.starts, count), first=1)
        case "swap-doubling":
            yield from _room((0, *arch.doublings, count), first=0)
        case "expand-block":
            most = min(MOST_NEW_BLOCKS, HARD_LIMIT_BLOCKS - count)
            yield from ((at, by) for at in _last_of_runs(arch) for by in range(1, most + 1))
        case "expand-stage":
            yield from ((0, 0),) if len(stages) < HARD_LIMIT_STAGES and count < HARD_LIMIT_BLOCKS else ()
        case "remove-block":
            yield from ((at, 0) for at in _last_of_runs(arch) if _remove_block(arch, at, 0))
        case "narrow":
            yield from ((at, 0) for at in range(len(arch.doublings)) if _narrow(arch, at, 0))
        case "add-copy" | "remove-copy":
            yield from ((at, 0) for at in stages if _MOVES[kind](arch, at, 0))


def _room(edges: tuple[int, ...], *, first: int) -> Iterator[tuple[int, int]]:
    """Yield by how much every inner edge may move; the first of them has the number `first`."""
    for at, (low, now, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False), start=first):
        yield from (
            (at, by) for by in range(max(low + 1 - now, -LONGEST_SWAP), min(high - now, LONGEST_SWAP + 1)) if by
        )


def _last_of_runs(arch: Arch) -> list[int]:
    """Return the last block of every run of one width in one stage: repeating any of a run gives the same net."""
    return sorted({edge - 1 for edge in (*arch.starts, *arch.doublings, arch.block_count)})


def origins(arch: Arch, moves: tuple[Move, ...]) -> Origins:
    """Say for every block of the child which block of `arch` it was before `moves`, None for a new one."""
    known: list[int | None] = list(range(arch.block_count))
    for move in moves:
        if move.kind == "expand-block":
            known[move.at + 1 : move.at + 1] = [None] * move.by
        elif move.kind == "expand-stage":
            known.append(None)
        elif move.kind == "remove-block":
            del known[move.at]
    return tuple(known)


def keeps_function(arch: Arch, move: Move) -> bool:
    """Say whether a child can start as exactly the function its parent is, in evaluation mode, where a stage that is
    appended counts for the levels that were there.

    Inserted blocks, appended stages and added copies keep it in training mode too. A new copy does not keep it where
    it takes the place of the main net as what the next stage's copy of its number reads, and puts out something else.
    """
    if move.kind in ("swap-doubling", "narrow"):
        return all(new >= old for new, old in zip(apply(arch, move).widths, arch.widths, strict=True))
    if move.kind == "add-copy":
        before, here, after = (*(0, *arch.copies, 0)[move.at : move.at + 3],) if arch.copies else (0, 0, 0)
        return after <= here or (here == 0 and before == 0)
    return move.kind in ("expand-block", "expand-stage")
