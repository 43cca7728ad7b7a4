"""Everything a report shows, as frozen values: who knows the study fills them in, the page lays them out.

Units: AP and differences of AP in 0..1 (the page prints points, 0.413 as 41.3), GMACs, seconds.
"""

from typing import Literal

import msgspec

from spnas.arch import Arch, Candidate, Outcome

Answer = Literal["better", "worse", "undecided", "unfinished"]
PartRole = Literal["searched", "rival", "root"]
Interval = tuple[float, float]


class Fact(msgspec.Struct, frozen=True):
    """One labelled value, already in words; `note` is small print below it."""

    label: str
    value: str
    note: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Did the search pay, in plain words: a headline, sentences below it, and up to four large numbers.

    gain: by how much the searched net is better than its rival, with its 95 % interval; None while it is not known.
    """

    answer: Answer
    headline: str
    sentences: tuple[str, ...] = ()
    gain: float | None = None
    interval: Interval | None = None
    numbers: tuple[Fact, ...] = ()


class CandidateRow(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate of the search.

    outcome: None while it is still to be trained.
    cost: in the unit of the page's `Axes`; its GMACs where none is given.
    gain: its AP less the AP of its parent merely trained on (the control); None for roots and controls.
    """

    candidate: Candidate
    outcome: Outcome | None = None
    cost: float | None = None
    fitness: float | None = None
    gain: float | None = None
    on_front: bool = False


class FinalRow(msgspec.Struct, frozen=True, kw_only=True):
    """One net trained in full with several seeds and judged on val: `aps` holds one AP per seed.

    from_candidate: number of the candidate it repeats, None for a rival.
    cost: in the unit of the page's `Axes`; its GMACs where none is given.
    """

    name: str
    role: PartRole
    arch: Arch
    gmacs: float
    params: int
    aps: tuple[float, ...]
    interval: Interval | None = None
    seconds: float = 0.0
    from_candidate: int | None = None
    cost: float | None = None

    @property
    def mean(self) -> float | None:
        """Mean AP over the seeds, None when no seed has finished."""
        return sum(self.aps) / len(self.aps) if self.aps else None


class DrawnArch(msgspec.Struct, frozen=True, kw_only=True):
    """One architecture to be drawn, with the cost of every stage where it is known."""

    name: str
    role: PartRole
    arch: Arch
    stage_gmacs: tuple[float, ...] = ()
    note: str = ""


class View(msgspec.Struct, frozen=True):
    """One picture, encoded as PNG, JPEG or WebP."""

    caption: str
    image: bytes


class PictureRow(msgspec.Struct, frozen=True, kw_only=True):
    """One picture seen by several eyes (truth, searched, rival); `labels` are the classes drawn in it."""

    name: str
    views: tuple[View, ...]
    labels: tuple[str, ...] = ()


class ClassRow(msgspec.Struct, frozen=True, kw_only=True):
    """AP of one class, one value per column of the table; None where a class has no box to judge on."""

    name: str
    boxes: int
    aps: tuple[float | None, ...]


class ClassTable(msgspec.Struct, frozen=True, kw_only=True):
    """AP by class: `columns` name the nets, searched first and its rival second."""

    columns: tuple[str, ...]
    rows: tuple[ClassRow, ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something the reader of the data did not take as it was."""

    kind: Literal["quarantined", "noted"]
    text: str
    count: int = 1


class Command(msgspec.Struct, frozen=True):
    """What one may want to do next, and the command line that does it."""

    purpose: str
    line: str


class Axes(msgspec.Struct, frozen=True, kw_only=True):
    """What the search weighed: a metric by its key in `Outcome.metrics`, and the unit of its cost.

    band: of the budget, least and greatest cost.
    """

    metric: str = "ap"
    cost: str = "GMACs"
    band: Interval | None = None


class StudyPage(msgspec.Struct, frozen=True, kw_only=True):
    """A whole report; everything but title, subtitle and verdict may be missing.

    winner: number of the candidate whose ancestry is told.
    classes: all class names in their order, which is what box colours follow.
    """

    title: str
    subtitle: str = ""
    verdict: Verdict
    axes: Axes = Axes()
    candidates: tuple[CandidateRow, ...] = ()
    winner: int | None = None
    finals: tuple[FinalRow, ...] = ()
    archs: tuple[DrawnArch, ...] = ()
    by_class: ClassTable | None = None
    classes: tuple[str, ...] = ()
    pictures: tuple[PictureRow, ...] = ()
    data: tuple[Fact, ...] = ()
    findings: tuple[Finding, ...] = ()
    settings: tuple[Fact, ...] = ()
    run: tuple[Fact, ...] = ()
    commands: tuple[Command, ...] = ()
