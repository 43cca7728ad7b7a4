"""Which architectures a search may visit, with its reason for every other one in words."""

import msgspec

from spnas.arch.arch import Arch


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a search; the defaults are those of the paper's published nets (4-6 stages, 8-60 blocks, ...)."""

    block: str
    base_width: int
    stem: str = "pool"
    min_stages: int = 4
    max_stages: int = 6
    min_blocks: int = 8
    max_blocks: int = 60
    doublings: int = 3
    max_copies: int = 3


def why_not(arch: Arch, space: Space) -> str | None:
    """Say in words why `arch` is outside of `space`, or return None when it is inside."""
    if arch.block != space.block or arch.stem != space.stem:
        return f"its blocks are {arch.block} after a {arch.stem} stem, not {space.block} after a {space.stem} stem"
    if not space.min_stages <= len(arch.stages) <= space.max_stages:
        return f"it has {len(arch.stages)} stages, not {space.min_stages} to {space.max_stages}"
    if not space.min_blocks <= arch.block_count <= space.max_blocks:
        return f"it has {arch.block_count} blocks, not {space.min_blocks} to {space.max_blocks}"
    widths = arch.widths
    if widths[0] != space.base_width:
        return f"its first block is {widths[0]} wide, not {space.base_width}"
    for number in arch.doublings:
        before, after = widths[number - 1], widths[number]
        if after != 2 * before:
            return f"block {number + 1} is {after} wide after {before}: a width may stay or double, nothing else"
    if len(arch.doublings) != space.doublings:
        return f"its width doubles {len(arch.doublings)} times, not {space.doublings}"
    if any(n > space.max_copies for n in arch.copies):
        return f"a stage has {max(arch.copies)} copies, more than {space.max_copies}"
    return None


def around(arch: Arch) -> Space:
    """Return the default space in which `arch` lies: its block kind, stem, base width and number of doublings."""
    return Space(
        block=arch.block,
        base_width=arch.widths[0],
        stem=arch.stem,
        min_stages=min(4, len(arch.stages)),
        min_blocks=min(8, arch.block_count),
        max_blocks=max(60, arch.block_count),
        max_stages=max(6, len(arch.stages)),
        doublings=len(arch.doublings),
        max_copies=max(3, *arch.copies, 0),
    )
