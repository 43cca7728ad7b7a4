"""`spnas list`: what can be named on the command line."""

from typing import Literal

import msgspec

from spnas.arch.published import PUBLISHED, Detection
from spnas.data import formats
from spnas.evaluate import metrics
from spnas.nets import blocks, detectors
from spnas.nets.cost import cost
from spnas.nets.settings import PRESETS
from spnas.runs import executors
from spnas.search import rules
from spnas.search.objective import METRICS
from spnas.search.settings import PHASES
from spnas.shelf import members

Kind = Literal[
    "archs",
    "blocks",
    "detectors",
    "formats",
    "metrics",
    "recipes",
    "presets",
    "parts",
    "objectives",
    "phases",
    "executors",
]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One name; backbones come with their notation and cost at 224x224.

    off_percent: how far the counted GMACs are from the printed ones, in percent of these.
    flagged: the printed GMACs cannot be those of this architecture; `remark` says why.
    """

    name: str
    meaning: str = ""
    arch: str = ""
    gmacs: float = 0.0
    params: int = 0
    printed_gmacs: float | None = None
    printed_top1_error: float | None = None
    off_percent: float | None = None
    flagged: bool = False
    detections: tuple[Detection, ...] = ()
    paper: str = ""
    remark: str = ""


_SAID = {
    "small": "for small pictures and CPUs",
    "standard": "the paper's settings",
    "plus": "the default, with all parts",
    "paper": "what the paper says, faults mended",
    "vega-v1": "the rule of the authors' release, faults included: for benchmarks",
    "serial": "swap and expand moves, with inherited weights",
    "reignite": "when stuck, the backbone learns to classify and is trained anew",
    "parallel": "copies of stages beside the best serial net",
    "final": "full trainings from scratch, beside a ResNet of equal cost",
    "lamr": "log-average miss rate, for data of EuroCity Persons; less is better",
    "loss": "of training, on pictures that are not learned from; less is better",
    **rules.PARTS,
}
_NAMES: dict[str, tuple[str, ...]] = {
    "recipes": tuple(PRESETS),
    "presets": tuple(rules.PRESETS),
    "parts": tuple(rules.PARTS),
    "objectives": tuple(METRICS),
    "phases": PHASES,
}


def catalogue(kind: Kind = "archs") -> list[Entry]:
    """Return everything of this kind that has a name."""
    if kind == "archs":
        return [_backbone(name) for name in PUBLISHED]
    if names := _NAMES.get(kind):
        return [Entry(name=name, meaning=_SAID.get(name, "")) for name in names]
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
        off_percent=off_percent(spent.gmacs, known.printed_gmacs),
        flagged=known.misprint,
        detections=known.detections,
        paper=known.paper,
        remark=known.remark,
    )


def off_percent(gmacs: float, printed: float | None) -> float | None:
    """Return by how much a counted cost exceeds the printed one, in percent."""
    return None if printed is None else round(100 * (gmacs / printed - 1), 2)


def describe(entries: list[Entry]) -> list[str]:
    """Return one line an entry."""
    lines = []
    for e in entries:
        line = f"{e.name:10} {e.meaning}" if e.meaning else e.name
        if e.arch:
            printed = f" (printed: {e.printed_gmacs}{'!' * e.flagged})" if e.printed_gmacs else ""
            line = f"{e.name:22} {e.gmacs:6.2f} GMAC{printed}, {e.params / 1e6:.1f}M params   {e.arch}"
        lines.append(line + (f"   [{e.remark}]" if e.remark else ""))
    return lines
