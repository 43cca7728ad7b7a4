"""One colour language for charts, drawings and boxes, for colour-blind eyes and for light and dark paper.

Every colour has a light and a dark form. Charts and drawings are made with the light one; the page swaps it
where the reader prefers dark. Shapes repeat what colours say: searched is a star, its rival a diamond, the root
a square.

Source: hues after Okabe and Ito, "Color Universal Design"; we differ in lightness, to suit both papers.
"""

import msgspec


class Shade(msgspec.Struct, frozen=True):
    """One colour on light and on dark paper."""

    light: str
    dark: str


SHADES = {
    "ink": Shade("#16202b", "#e8edf2"),
    "quiet": Shade("#5b6875", "#9aa8b6"),
    "line": Shade("#d9dfe5", "#2f3a46"),
    "paper": Shade("#ffffff", "#12181f"),
    "panel": Shade("#f5f7f9", "#19212a"),
    "searched": Shade("#0067a8", "#5cb8f0"),
    "rival": Shade("#c65100", "#f59a4a"),
    "root": Shade("#7a4fa3", "#c19be6"),
    "candidate": Shade("#86a9c2", "#56788f"),
    "control": Shade("#8a939c", "#84909c"),
    "worse": Shade("#b3261e", "#ff8a80"),
    "band": Shade("#e4eff7", "#1b2c3a"),
}

# Widths of blocks, narrow to wide: the further from the paper, the wider.
WIDTHS = (
    Shade("#b9d9ec", "#1f4560"),
    Shade("#84bbdd", "#2b668c"),
    Shade("#4796c6", "#3f8dbd"),
    Shade("#1a6ea6", "#69b1de"),
    Shade("#0b4a78", "#9fd3f2"),
    Shade("#052d4e", "#d3edfb"),
)

# On photographs: saturated and neither dark nor light, since a picture may be anything.
BOXES = (
    "#0072b2", "#d55e00", "#009e73", "#c0428a", "#b88a00", "#2c9fd9",
    "#8a3ffc", "#5e8c00", "#e0404f", "#00807a", "#7d5a3c", "#5664c8",
)  # fmt: skip

SYMBOLS = {
    "searched": "star",
    "rival": "diamond",
    "root": "square",
    "child": "circle",
    "control": "line-ew-open",
}


def shade(name: str) -> str:
    """Return the light form of a colour, the one everything is made with."""
    return SHADES[name].light


def dark_forms() -> dict[str, str]:
    """Map every light form to its dark one; no light form stands for two dark ones."""
    return {one.light: one.dark for one in (*SHADES.values(), *WIDTHS)}


def css_variables(*, dark: bool) -> str:
    """Return the colours as CSS declarations: `--ink`, `--searched`, ..., and `--w0` to `--w5` for widths."""
    named = {**SHADES, **{f"w{i}": one for i, one in enumerate(WIDTHS)}}
    return "".join(f"--{name}:{one.dark if dark else one.light};" for name, one in named.items())
