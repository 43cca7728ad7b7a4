"""Two notations, both ways: the table-like text, and the code of the authors' release."""

import re

from spnas.arch.arch import HARD_LIMIT_BLOCKS, STEMS, Arch
from spnas.errors import UsageError

LONGEST_TEXT = 2000
_RUN = re.compile(r"(\d{1,5})(?:x(\d{1,3}))?")
_CODE = re.compile(r"(x\(32x4d\)|x\(64x4d\)|[br])_([12]+(?:-[12]+)*)(?:_(\d(?:-\d)*))?")
_CODE_BLOCKS = {"b": "basic", "r": "bottleneck", "x(32x4d)": "resnext", "x(64x4d)": "resnext64x4d"}
CODE_BASE_WIDTH = 64


def parse(text: str) -> Arch:
    """Read either notation; published names are `arch.published`'s business.

    Raises: UsageError that says what in `text` is not understood.
    """
    text = text.strip()
    if len(text) > LONGEST_TEXT:
        raise UsageError(f"an architecture of {len(text)} characters; at most {LONGEST_TEXT} are read")
    try:
        return _parse_text(text) if ":" in text else parse_code(text)
    except ValueError as fault:
        raise UsageError(f"architecture {text[:80]!r}: {fault}") from None


def _parse_text(text: str) -> Arch:
    head, body = text.split(":", 1)
    words = head.split()
    if not words or len(words) > 2 or (len(words) == 2 and words[1] not in STEMS):
        raise ValueError(f"before the colon stands a block kind and, if need be, a stem ({' or '.join(STEMS)})")
    serial, plus, tail = body.partition("+")
    copies: tuple[int, ...] = ()
    if plus:
        if not re.fullmatch(r"\s*\d(?:-\d)*\s*", tail):
            raise ValueError(f"after the plus stand numbers of copies such as 1-0-2-1-2, not {tail.strip()!r}")
        copies = tuple(map(int, tail.split("-")))
    stages = tuple(_parse_stage(stage) for stage in serial.split("/"))
    return Arch(words[0], stages, copies, words[1] if len(words) == 2 else "pool")


def _parse_stage(text: str) -> tuple[int, ...]:
    widths: list[int] = []
    for word in text.split():
        run = _RUN.fullmatch(word)
        if not run:
            raise ValueError(f"{word!r} is not WIDTHxCOUNT, such as 64x4")
        if int(run[2] or 1) == 0:
            raise ValueError(f"{word!r} counts no block")
        widths += [int(run[1])] * int(run[2] or 1)
        if len(widths) > HARD_LIMIT_BLOCKS:
            raise ValueError(f"more than {HARD_LIMIT_BLOCKS} blocks in one stage")
    if not widths:
        raise ValueError("a stage without blocks (two slashes side by side, or one at an end)")
    return tuple(widths)


def parse_code(code: str) -> Arch:
    """Read a code such as `r_111-2111-211111-211_0-0-0-0`: a digit per block, 2 doubles the width from there on.

    Raises: ValueError when `code` is not one.
    """
    match = _CODE.fullmatch(code)
    if not match:
        raise ValueError(
            "not understood; write it as 'bottleneck: 64x3 / 128x4 / 256x6 / 512x3' or as a code such as "
            "r_111-2111-211111-211, or give a name that 'spnas list archs' shows"
        )
    if match[2].startswith("2"):
        raise ValueError("the first block sets the base width, so a code cannot begin with 2")
    width, stages = CODE_BASE_WIDTH, []
    for digits in match[2].split("-"):
        stage = []
        for digit in digits:
            width *= int(digit)
            stage.append(width)
        stages.append(tuple(stage))
    copies = tuple(map(int, match[3].split("-"))) if match[3] else ()
    return Arch(_CODE_BLOCKS[match[1]], tuple(stages), copies)


def to_code(arch: Arch) -> str:
    """Write the authors' code of `arch`.

    Raises: UsageError where the code has no way to say it: another base width than 64, a width that neither
    stays nor doubles, another stem than 7x7 and pooling, another block kind.
    """
    prefix = {block: code for code, block in _CODE_BLOCKS.items()}.get(arch.block)
    ratios = [b / a for a, b in zip((CODE_BASE_WIDTH, *arch.widths), arch.widths, strict=False)]
    if prefix is None or arch.stem != "pool" or ratios[0] != 1 or not set(ratios) <= {1, 2}:
        raise UsageError(f"{arch.text!r} cannot be said in the authors' code; use the text notation")
    digits = iter("".join(str(int(ratio)) for ratio in ratios))
    serial = "-".join("".join(next(digits) for _ in stage) for stage in arch.stages)
    copies = arch.copies or (0,) * len(arch.stages)
    return f"{prefix}_{serial}_{'-'.join(map(str, copies))}"
