"""`spnas list`: what can be named on the command line."""

from typing import Literal

import msgspec

from spnas.arch.published import PUBLISHED
from spnas.data import formats
from spnas.evaluate import metrics
from spnas.nets import blocks, detectors
from spnas.nets.cost import cost
from spnas.nets.settings import PRESETS
from spnas.runs import executors
from spnas.shelf import members

Kind = Literal["archs", "blocks", "detectors", "formats", "metrics", "presets", "executors"]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One name; backbones come with their notation and cost at 224x224."""

    name: str
    arch: str = ""
    gmacs: float = 0.0
    params: int = 0
    printed_gmacs: float | None = None
    printed_top1_error: float | None = None
    paper: str = ""
    remark: str = ""


def catalogue(kind: Kind = "archs") -> list[Entry]:
    """Return everything of this kind that has a name."""
    if kind == "archs":
        return [_backbone(name) for name in PUBLISHED]
    if kind == "presets":
        return [Entry(name=name) for name in PRESETS]
    shelf = {
        "blocks": blocks,
        "detectors": detectors,
        "formats": formats,
        "metrics": metrics,
        "executors": executors,
    }[kind]
    return [Entry(name=name) for name in members(shelf)]


def _backbone(name: str) -> Entry:
    known = PUBLISHED[name]
    spent = cost(known.arch)
    return Entry(
        name=name,
        arch=known.arch.text,
        gmacs=round(spent.gmacs, 3),
        params=spent.params,
        printed_gmacs=known.printed_gmacs,
        printed_top1_error=known.printed_top1_error,
        paper=known.paper,
        remark=known.remark,
    )


def describe(entries: list[Entry]) -> list[str]:
    """Return one line an entry."""
    lines = []
    for e in entries:
        line = e.name
        if e.arch:
            printed = f" (printed: {e.printed_gmacs})" if e.printed_gmacs else ""
            line = f"{e.name:18} {e.gmacs:6.2f} GMAC{printed}, {e.params / 1e6:.1f}M params   {e.arch}"
        lines.append(line + (f"   [{e.remark}]" if e.remark else ""))
    return lines
