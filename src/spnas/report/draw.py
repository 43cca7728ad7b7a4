"""Drawings in SVG: a backbone, and a gain with its interval.

Colours are CSS variables of the page; where a drawing stands alone it falls back to the light palette.
"""

import html
import itertools
import math

from spnas.arch import Arch
from spnas.report.palette import WIDTHS, shade
from spnas.report.text import signed, visible

WIDEST_PITCH, LABEL_PX, COST_PX = 18.0, 56, 56
LONGEST_TRACK_PX, SHORTEST_TRACK_PX = 380, 150
TALLEST_PX, SHORTEST_PX, STEP_PX = 34, 10, 5
COPY_PX, GAP_PX, HEAD_PX = 8, 22, 18
NARROWEST_PLANES = 64


def _var(name: str, fallback: str) -> str:
    return f"var(--{name},{fallback})"


INK, QUIET, LINE = (_var(name, shade(name)) for name in ("ink", "quiet", "line"))


def _text(x: float, y: float, words: str, *, fill: str = INK, size: int = 11, anchor: str = "start") -> str:
    safe = html.escape(visible(words))
    style = f"fill:{fill};font-size:{size}px"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{style}">{safe}</text>'


def _width_colour(width: int, narrowest: int) -> str:
    step = round(math.log2(width / narrowest)) if width > narrowest else 0
    step = min(step, len(WIDTHS) - 1)
    return _var(f"w{step}", WIDTHS[step].light)


def draw_arch(
    arch: Arch,
    *,
    stage_gmacs: tuple[float, ...] = (),
    longest: int | None = None,
    narrowest: int | None = None,
) -> str:
    """Draw a backbone: a row per stage, a bar per block, lower with the resolution and darker with the width.

    Copies of a stage are outlined strips below its row; a number above a bar says where the width changes.

    Args:
        longest: blocks in the longest stage of all nets drawn side by side, so that they share one scale.
        narrowest: width of the lightest colour, shared likewise.
    """
    longest = max(longest or 0, *map(len, arch.stages))
    narrowest = narrowest or min(*arch.widths, NARROWEST_PLANES)
    pitch = min(WIDEST_PITCH, LONGEST_TRACK_PX / longest)
    full = LABEL_PX + max(pitch * longest, SHORTEST_TRACK_PX) + COST_PX
    rows, y, before = [], float(HEAD_PX), None
    copies = arch.copies or (0,) * len(arch.stages)
    for number, (stage, copied) in enumerate(zip(arch.stages, copies, strict=True)):
        height = max(SHORTEST_PX, TALLEST_PX - STEP_PX * number)
        rows.append(_row_labels(number, y + height / 2 + 4))
        rows.append(_blocks(stage, y=y, height=height, pitch=pitch, before=before, narrowest=narrowest))
        if number < len(stage_gmacs):
            words = f"{stage_gmacs[number]:.2f} G"
            rows.append(_text(full, y + height / 2 + 4, words, anchor="end"))
        before = stage[-1]
        y += height
        if copied:
            rows.append(_copies(len(stage), copied, y=y + 3, pitch=pitch))
            y += 3 + copied * (COPY_PX + 2)
        y += GAP_PX
    tall = y - GAP_PX + 6
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="arch" viewBox="0 0 {full:.0f} {tall:.0f}" '
        f'width="{full:.0f}" role="img" '
        f'style="font-family:system-ui,sans-serif"><title>{html.escape(visible(arch.text))}</title>'
        f"{''.join(rows)}</svg>"
    )


def _row_labels(number: int, y: float) -> str:
    return _text(0, y, f"p{number + 2}", size=12) + _text(
        LABEL_PX - 8, y, f"/{4 * 2**number}", fill=QUIET, anchor="end"
    )


def _blocks(
    stage: tuple[int, ...], *, y: float, height: float, pitch: float, before: int | None, narrowest: int
) -> str:
    gap = 2.0 if pitch > 7 else 1.0 if pitch > 3 else 0.0
    parts, label_ends = [], -1.0
    for width, run in itertools.groupby(enumerate(stage), key=lambda item: item[1]):
        positions = [index for index, _ in run]
        x = LABEL_PX + pitch * positions[0]
        if width != before and x >= label_ends:
            parts.append(_text(x, y - 4, str(width), fill=QUIET, size=10))
            label_ends = x + 7 * len(str(width)) + 3
        if before not in (None, width):
            parts.append(f'<path d="M{x - gap / 2:.2f} {y - 2:.1f}v{height + 4:.1f}" style="stroke:{INK}"/>')
        fill = _width_colour(width, narrowest)
        parts += [
            f'<rect x="{LABEL_PX + pitch * i:.2f}" y="{y:.1f}" width="{pitch - gap:.2f}" height="{height}" '
            f'rx="{1.5 if gap > 1 else 0}" style="fill:{fill}"/>'
            for i in positions
        ]
        before = width
    return "".join(parts)


def _copies(blocks: int, copied: int, *, y: float, pitch: float) -> str:
    length = max(pitch * blocks - 2, 3)
    strips = "".join(
        f'<rect x="{LABEL_PX + 0.5:.1f}" y="{y + i * (COPY_PX + 2) + 0.5:.1f}" width="{length:.1f}" '
        f'height="{COPY_PX - 1}" rx="1.5" style="fill:none;stroke:{QUIET};stroke-dasharray:3 2"/>'
        for i in range(copied)
    )
    words = f"+{copied} cop{'y' if copied == 1 else 'ies'}"
    return strips + _text(LABEL_PX + length + 8, y + copied * (COPY_PX + 2) / 2 + 3, words, fill=QUIET, size=10)


def draw_gain(gain: float, interval: tuple[float, float] | None, *, colour: str) -> str:
    """Draw a gain in points as a dot on a line across zero, its interval as a bar; `colour` names a shade."""
    low, high = interval or (gain, gain)
    reach = 1.25 * max(abs(low), abs(high), abs(gain), 0.005)
    full, middle = 380, 34

    def at(value: float) -> float:
        return full / 2 + (full / 2 - 20) * value / reach

    fill = _var(colour, shade(colour))
    left, right = at(low), at(high)
    parts = [
        f"<title>{signed(gain)} points, {signed(low)} to {signed(high)}</title>",
        f'<path d="M0 {middle}H{full}" style="stroke:{LINE}"/>',
        f'<path d="M{full / 2} {middle - 16}v32" style="stroke:{INK};stroke-width:1.5"/>',
        f'<rect x="{left:.1f}" y="{middle - 4}" width="{right - left:.1f}" height="8" rx="4" '
        f'style="fill:{fill};opacity:.38"/>',
        f'<circle cx="{at(gain):.1f}" cy="{middle}" r="6.5" style="fill:{fill}"/>',
        _text(at(gain), middle - 14, signed(gain), size=12, anchor="middle"),
        _text(0, middle + 40, "← rival better", fill=QUIET, size=10),
        _text(full, middle + 40, "searched better →", fill=QUIET, size=10, anchor="end"),
    ]
    if interval and right - left > 40:
        parts += [_text(x, middle + 22, signed(v), fill=QUIET, size=10, anchor="middle") for x, v in
                  ((left, low), (right, high))]  # fmt: skip
    elif interval:
        words = f"{signed(low)} to {signed(high)}"
        parts.append(_text((left + right) / 2, middle + 22, words, fill=QUIET, size=10, anchor="middle"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gain" viewBox="0 0 {full} 80" role="img" '
        f'style="font-family:system-ui,sans-serif">{"".join(parts)}</svg>'
    )
