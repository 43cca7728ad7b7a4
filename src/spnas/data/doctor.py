"""Say what is wrong with a data set, all of it at once, before any training."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from spnas.data.alike import alike
from spnas.data.checks import MAX_BAD, Checked
from spnas.data.compare import overlap
from spnas.data.decoding import Decoded, decode_all
from spnas.data.open import read_splits
from spnas.data.pictures import SAFE_FORMATS
from spnas.data.propose import Anchors, propose_anchors, propose_recipe, propose_size
from spnas.data.raw import Spot
from spnas.data.records import Annotations, DataReport
from spnas.data.survey import SplitSummary, summarise
from spnas.data.tally import record
from spnas.errors import DataError, escape

ANCHOR_SCALES = {"small": 4.0, "standard": 8.0}  # what the recipes bring
PAIRS_KEPT = 200


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found: `refused` stops training, `quarantined` leaves a record out, `noted` changes nothing."""

    severity: Literal["refused", "quarantined", "noted"]
    code: str
    file: str
    where: str
    reason: str
    hint: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found; `counts` has the number of every code, `problems` the first of each.

    overlapping: pictures of train and val of the same bytes. alike: pairs that look the same, as SPLIT/NAME;
      `leaks` are those of them that lie on both sides.
    """

    path: str
    format: str | None
    splits: tuple[SplitSummary, ...]
    problems: tuple[Problem, ...]
    reports: tuple[DataReport, ...]
    counts: dict[str, int]
    undecodable: tuple[str, ...]
    overlapping: tuple[tuple[str, str], ...]
    alike: tuple[tuple[str, str], ...]
    leaks: int
    image_size: int | None
    recipe: Literal["small", "standard"] | None
    anchors: Anchors | None

    @property
    def refused(self) -> bool:
        """Whether anything was found that training would stop at."""
        return any(p.severity == "refused" for p in self.problems)


class Examined(msgspec.Struct, frozen=True, eq=False):
    """A diagnosis, with the annotations it is about, by role."""

    diagnosis: Diagnosis
    annotations: dict[str, Annotations]


def examine(
    path: Path,
    *,
    format: str | None = None,
    train: str | None = None,
    val: str | None = None,
    max_bad: float = MAX_BAD,
    allow_outside: Path | None = None,
    allow_overlap: bool = False,
    picture_formats: tuple[str, ...] = SAFE_FORMATS,
    decode: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Examined:
    """Look at everything that `open_data` looks at, and go on where it would stop.

    Args:
      decode: decode every picture completely, in child processes; without, nothing is known of how they look.
      progress: called with (pictures decoded, pictures in all).
    """
    refusals: list[DataError] = []
    name, parts = format, dict[str, Checked]()
    try:
        name, parts = read_splits(
            path,
            format=format,
            train=train,
            val=val,
            max_bad=max_bad,
            allow_outside=allow_outside,
            allow_overlap=allow_overlap,
            picture_formats=picture_formats,
            on_refusal=refusals.append,
        )
    except DataError as error:
        refusals.append(error)
    decoded = Decoded({}, [])
    pairs: list[tuple[str, str]] = []
    leaks = 0
    if decode:
        paths = [p.annotations.path(i) for p in parts.values() for i in range(len(p.annotations))]
        decoded = decode_all(paths, formats=picture_formats, progress=progress)
        pairs, leaks = _alike(parts, decoded.looks)
    errors = [*refusals, *decoded.faults.values()]
    reports = list({id(p.report): p.report for p in parts.values()}.values())
    learned = parts["train"].annotations if "train" in parts else None
    size = propose_size(learned) if learned is not None and len(learned.boxes) else None
    recipe = None if size is None or learned is None else propose_recipe(size, len(learned))
    anchors = None
    if size is not None and recipe is not None and learned is not None:
        anchors = propose_anchors(learned, size, usual_scale=ANCHOR_SCALES[recipe])
    diagnosis = Diagnosis(
        path=escape(str(path)),
        format=name,
        splits=tuple(summarise(role, part) for role, part in parts.items()),
        problems=_problems(errors, reports),
        reports=tuple(reports),
        counts=_counts(errors, reports),
        undecodable=tuple(e.file for e in decoded.faults.values()),
        overlapping=_shared(parts),
        alike=tuple(pairs[:PAIRS_KEPT]),
        leaks=leaks,
        image_size=size,
        recipe=recipe,
        anchors=anchors,
    )
    return Examined(diagnosis, {role: part.annotations for role, part in parts.items()})


def _alike(parts: dict[str, Checked], looks: list[str]) -> tuple[list[tuple[str, str]], int]:
    """Note pictures that look alike, those of train and val apart; the leaks come first."""
    places = [(role, i) for role, part in parts.items() for i in range(len(part.annotations))]
    leaks: list[tuple[str, str]] = []
    within: list[tuple[str, str]] = []
    for first, second in alike(looks):
        (role, i), (other, j) = places[first], places[second]
        if parts[role].digests[i] == parts[other].digests[j] and role != other:
            continue  # the same bytes: refused as an overlap
        ours, theirs = parts[role].annotations.files[i], parts[other].annotations.files[j]
        report = parts[other].report
        spot = Spot(report.source, f"picture {theirs}")
        if role == other:
            within.append((escape(f"{role}/{ours}"), escape(f"{other}/{theirs}")))
            reason, hint = f"looks like {ours}", "keep one, unless both are meant"
            record(report, spot, outcome="noted", code="pictures-alike", reason=reason, hint=hint)
        else:
            leaks.append((escape(f"{role}/{ours}"), escape(f"{other}/{theirs}")))
            reason, hint = f"looks like {ours} of train", "remove it from one side if it shows the same scene"
            record(report, spot, outcome="noted", code="splits-alike", reason=reason, hint=hint)
    return [*leaks, *within], len(leaks)


def _problems(errors: list[DataError], reports: list[DataReport]) -> tuple[Problem, ...]:
    """Return everything found, the gravest first."""
    found = [
        Problem(severity="refused", code=e.code, file=e.file, where=e.where, reason=e.reason, hint=e.hint)
        for e in errors
    ]
    for outcome in ("quarantined", "noted"):
        for finding in (f for report in reports for f in report.findings if f.outcome == outcome):
            found.append(
                Problem(
                    severity=finding.outcome,
                    code=finding.code,
                    file=finding.file,
                    where=finding.where,
                    reason=finding.reason,
                    hint=finding.hint,
                )
            )
    return tuple(found)


def _counts(errors: list[DataError], reports: list[DataReport]) -> dict[str, int]:
    total = Counter(e.code for e in errors)
    for report in reports:
        total.update(report.counts)
    return dict(sorted(total.items()))


def _shared(parts: dict[str, Checked]) -> tuple[tuple[str, str], ...]:
    """Return the names of pictures that train and val share."""
    if len(parts) < 2:
        return ()
    learned, judged = parts["train"].annotations, parts["val"].annotations
    pairs = overlap(parts["train"], parts["val"])
    return tuple((escape(learned.files[a]), escape(judged.files[b])) for a, b in pairs)
