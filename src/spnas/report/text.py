"""Values as a reader wants to see them, and foreign text as it is safe to show."""

import html
import re

_MINUS = "\N{MINUS SIGN}"
# Controls, lone surrogates, and the bidi characters that could reorder what stands around them. Joiners stay:
# emoji and several scripts need them.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    """Show controls, bidi and lone surrogate characters as escapes: a name cannot rearrange the page."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def chart_text(text: str) -> str:
    """Make `text` safe inside a chart, where plotly would read tags and even links."""
    return html.escape(visible(text), quote=False)


def points(ap: float | None) -> str:
    """Print an AP of 0..1 in points: 41.3."""
    return "–" if ap is None else f"{100 * ap:.1f}"


def signed(gain: float | None) -> str:
    """Print a difference of AP in points with its sign: +1.8."""
    if gain is None:
        return "–"
    text = f"{100 * abs(gain):.1f}"
    if text == "0.0":
        return text
    return f"{'+' if gain > 0 else _MINUS}{text}"


def span(interval: tuple[float, float] | None) -> str:
    """Print an interval of AP in points: 40.9 to 41.8."""
    return "–" if interval is None else f"{points(interval[0])} to {points(interval[1])}"


def metric(name: str) -> str:
    """Print the key of a metric: AP, AP50, AP small, LAMR, loss."""
    words = name.split("_")
    return " ".join(word if word in ("small", "medium", "large", "loss") else word.upper() for word in words)


def gmacs(value: float) -> str:
    """Print a cost with three digits: 9.47, 0.312, 64.1."""
    if not value:
        return "–"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def params(count: int) -> str:
    """Print a number of parameters: 23.5 M, 812 k."""
    if not count:
        return "–"
    return f"{count / 1e6:.1f} M" if count >= 999_500 else f"{count / 1e3:.0f} k"


def duration(seconds: float) -> str:
    """Print a time in the two units that matter: 2 h 05 min, 3 min 20 s, 4.1 s."""
    if not seconds:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24:02d} h"
