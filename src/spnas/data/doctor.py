"""Say what is wrong with a data set, all of it at once, before any training."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from spnas.data.checks import MAX_BAD, Checked
from spnas.data.compare import overlap
from spnas.data.decoding import undecodable
from spnas.data.open import read_splits
from spnas.data.pictures import SAFE_FORMATS
from spnas.data.records import NOT_A_TARGET, Annotations, DataReport
from spnas.errors import DataError, escape

SMALL, MEDIUM = 32.0**2, 96.0**2  # COCO's bounds of areas, at the original size
LEAST_OBJECT_PX = 16.0  # what three of four objects of a class should measure at the input
FEWEST_BOXES = 10  # a class of fewer does not decide the size
SIZES_PX, STEP_PX = (96, 1344), 32
STANDARD_FROM_PX, STANDARD_FROM_PICTURES = 512, 2000


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found: `refused` stops training, `quarantined` leaves a record out, `noted` changes nothing."""

    severity: Literal["refused", "quarantined", "noted"]
    code: str
    file: str
    where: str
    reason: str
    hint: str


class SplitSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What can be used of one split: boxes by class and by size, pictures by how many boxes they have."""

    role: str
    name: str
    source: str
    images: int
    per_class: dict[str, int]
    box_sizes: dict[str, int]
    boxes_per_picture: dict[str, int]
    median_size: tuple[int, int]


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found; `counts` has the number of every code, `problems` the first of each."""

    path: str
    format: str | None
    splits: tuple[SplitSummary, ...]
    problems: tuple[Problem, ...]
    reports: tuple[DataReport, ...]
    counts: dict[str, int]
    undecodable: tuple[str, ...]
    overlapping: tuple[tuple[str, str], ...]
    image_size: int | None
    preset: Literal["small", "standard"] | None

    @property
    def refused(self) -> bool:
        """Whether anything was found that training would stop at."""
        return any(p.severity == "refused" for p in self.problems)


def examine(
    path: Path,
    *,
    format: str | None = None,
    train: str | None = None,
    val: str | None = None,
    max_bad: float = MAX_BAD,
    allow_outside: Path | None = None,
    picture_formats: tuple[str, ...] = SAFE_FORMATS,
    decode: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Look at everything that `open_data` looks at, and go on where it would stop.

    Args:
      decode: decode every picture completely, in child processes.
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
            allow_overlap=False,
            picture_formats=picture_formats,
            on_refusal=refusals.append,
        )
    except DataError as error:
        refusals.append(error)
    faults: list[DataError] = []
    if decode:
        paths = [p.annotations.path(i) for p in parts.values() for i in range(len(p.annotations))]
        faults = list(undecodable(paths, formats=picture_formats, progress=progress).values())
    reports = list({id(p.report): p.report for p in parts.values()}.values())
    learned = parts["train"].annotations if "train" in parts else None
    size = propose_size(learned) if learned is not None and len(learned.boxes) else None
    return Diagnosis(
        path=escape(str(path)),
        format=name,
        splits=tuple(summarise(role, part) for role, part in parts.items()),
        problems=_problems([*refusals, *faults], reports),
        reports=tuple(reports),
        counts=_counts([*refusals, *faults], reports),
        undecodable=tuple(e.file for e in faults),
        overlapping=_shared(parts),
        image_size=size,
        preset=None if size is None or learned is None else propose_preset(size, len(learned)),
    )


def summarise(role: str, part: Checked) -> SplitSummary:
    """Count what a split holds, ignore regions left out."""
    known = part.annotations
    areas = known.areas[(known.flags & NOT_A_TARGET) == 0]
    each = np.diff(known.first)
    crowds = (("0", 0, 1), ("1", 1, 2), ("2-4", 2, 5), ("5-9", 5, 10), ("10-19", 10, 20), ("20+", 20, np.inf))
    return SplitSummary(
        role=role,
        name=known.name,
        source=escape(part.report.source),
        images=len(known),
        per_class=_class_counts(known),
        box_sizes={
            "small": int((areas < SMALL).sum()),
            "medium": int(((areas >= SMALL) & (areas < MEDIUM)).sum()),
            "large": int((areas >= MEDIUM).sum()),
        },
        boxes_per_picture={name: int(((each >= low) & (each < high)).sum()) for name, low, high in crowds},
        median_size=(int(np.median(known.sizes[:, 0])), int(np.median(known.sizes[:, 1]))) if len(known) else (0, 0),
    )


def propose_size(annotations: Annotations) -> int:
    """Return the long side at which most objects of every class measure 16 px, at most that of the pictures."""
    long = annotations.sizes.max(axis=1).astype(float)
    owner = np.repeat(np.arange(len(annotations)), np.diff(annotations.first))
    sides = np.sqrt(np.prod(annotations.boxes[:, 2:] - annotations.boxes[:, :2], axis=1)) / long[owner]
    present = np.flatnonzero(np.bincount(annotations.labels) >= FEWEST_BOXES)
    groups = [sides[annotations.labels == label] for label in present] or [sides]
    share = min(float(np.quantile(group, 0.25)) for group in groups)
    wanted = min(LEAST_OBJECT_PX / max(share, 1e-6), float(np.median(long)))
    return int(np.clip(-(-wanted // STEP_PX) * STEP_PX, *SIZES_PX))


def propose_preset(size: int, pictures: int) -> Literal["small", "standard"]:
    """Return "standard" where it takes large inputs and there is enough to learn from, else "small"."""
    large = size >= STANDARD_FROM_PX and pictures >= STANDARD_FROM_PICTURES
    return "standard" if large else "small"


def _class_counts(known: Annotations) -> dict[str, int]:
    counts = np.bincount(known.labels[(known.flags & NOT_A_TARGET) == 0], minlength=len(known.classes))
    return {escape(name): int(count) for name, count in zip(known.classes, counts, strict=True)}


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
