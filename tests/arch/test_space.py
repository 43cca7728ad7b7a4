"""The space says in words why a net lies outside of it."""

import msgspec
import pytest

from spnas.arch import Space, parse
from spnas.arch.published import PUBLISHED
from spnas.arch.space import around, why_not

SPACE = Space(block="basic", base_width=16)
INSIDE = "basic: 16x2 / 32x2 / 64x2 / 128x2 + 0-1-2-3"


def test_a_net_inside_is_not_spoken_of() -> None:
    """No reason, no words."""
    assert why_not(parse(INSIDE), SPACE) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bottleneck: 16x2 / 32x2 / 64x2 / 128x2", "its blocks are bottleneck after a pool stem, not basic"),
        ("basic conv: 16x2 / 32x2 / 64x2 / 128x2", "its blocks are basic after a conv stem, not basic after a pool"),
        ("basic: 16x2 / 32x2 64x2 / 128x2", "it has 3 stages, not 4 to 6"),
        ("basic: 16x2 / 32x2 / 64x2 / 128x2 / 128x1 / 128x1 / 128x1", "it has 7 stages, not 4 to 6"),
        ("basic: 16x1 / 32x2 / 64x2 / 128x2", "it has 7 blocks, not 8 to 60"),
        ("basic: 16x50 / 32x8 / 64x2 / 128x2", "it has 62 blocks, not 8 to 60"),
        ("basic: 32x2 / 64x2 / 128x2 / 256x2", "its first block is 32 wide, not 16"),
        ("basic: 16x2 / 32x2 / 128x2 / 256x2", "block 5 is 128 wide after 32: a width may stay or double"),
        ("basic: 16x2 / 32x2 / 16x2 / 32x2", "block 5 is 16 wide after 32: a width may stay or double"),
        ("basic: 16x2 / 32x2 / 64x2 / 64x2", "its width doubles 2 times, not 3"),
        ("basic: 16x2 / 32x2 / 64x2 / 128x2 + 0-4-0-0", "a stage has 4 copies, more than 3"),
    ],
)
def test_why_not_says_what_is_outside(text: str, reason: str) -> None:
    """The first bound that is broken is named with both numbers."""
    assert (why_not(parse(text), SPACE) or "").startswith(reason)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_every_published_net_lies_in_the_space_around_it(name: str) -> None:
    """A search can begin from any of them."""
    arch = PUBLISHED[name].arch
    assert why_not(arch, around(arch)) is None


@pytest.mark.parametrize(
    "text",
    ["basic: 16x3", "basic: 16x70 / 32x1", "basic: 8x1 / 8x1 / 8x1 / 8x1 / 8x1 / 8x1 / 8x1", "basic: 8x2 / 8x1 + 5-0"],
)
def test_an_unusual_net_widens_the_space_around_it(text: str) -> None:
    """Too few, too many: the bounds give way, so that the net itself is inside."""
    assert why_not(parse(text), around(parse(text))) is None


def test_a_space_survives_json() -> None:
    """It is written into studies."""
    assert msgspec.json.decode(msgspec.json.encode(SPACE), type=Space) == SPACE
