"""`spnas doctor`: what is in a data set, and what is wrong with it, before any training."""

import os
import shlex
from pathlib import Path

import numpy as np
from PIL import Image

from spnas.data.choice import DataChoice
from spnas.data.doctor import Diagnosis, Problem, examine
from spnas.data.generate import GeneratorSettings, generate
from spnas.data.open import generated_folder
from spnas.data.pictures import read_picture
from spnas.data.records import Annotations
from spnas.data.survey import SplitSummary
from spnas.errors import DataError, UsageError, escape
from spnas.report import doctor_page as page
from spnas.report import draw_boxes, encode, records
from spnas.runs.files import write_atomic
from spnas.talk import Part, Talk
from spnas.tasks.overwrite import refuse_other_page

SAMPLES, SAMPLE_PX = 9, 640
CASES_SHOWN, CLASSES_SHOWN, PAIRS_SHOWN = 5, 80, 60


def doctor(
    data: str | Path | DataChoice | None = None,
    *,
    decode: bool = True,
    html: str | Path | None = None,
    talk: Talk | None = None,
) -> Diagnosis:
    """Examine a data set, the generated one by default, and decode every picture unless told not to.

    Bad data does not raise: see `Diagnosis.refused`. `html` is where a page about it goes.
    Raises: UsageError for a format that is unknown, or a page that would lie inside the data.
    """
    talk = talk or Talk(quiet=True)
    choice = data if isinstance(data, DataChoice) else DataChoice(path=None if data is None else str(data))
    path = generated_folder(GeneratorSettings(), None) if choice.path is None else Path(choice.path)
    if html is not None:
        refuse_other_page(Path(html), "--html")
        if choice.path is not None:
            _refuse_inside(Path(html), path)
    if choice.path is None:
        generate(path, GeneratorSettings())
    with talk.progress():
        examined = examine(
            path,
            format=choice.format,
            train=choice.train,
            val=choice.val,
            max_bad=choice.max_bad,
            allow_outside=Path(choice.allow_outside) if choice.allow_outside is not None else None,
            allow_overlap=choice.allow_overlap,
            decode=decode,
            progress=lambda done, total: talk.show([Part("pictures decoded", done, total)]),
        )
    if html is not None:
        samples = _samples(examined.annotations, examined.diagnosis) if decode else ()
        write_atomic(Path(html), page.write_doctor_page(_page(examined.diagnosis, examined.annotations, samples)))
        talk.say(f"page: {html}")
    return examined.diagnosis


def describe(diagnosis: Diagnosis) -> list[str]:
    """Return what a person reads."""
    lines = [f"{diagnosis.path}: {diagnosis.format or 'format not recognised'}"]
    for split in diagnosis.splits:
        sizes = ", ".join(f"{count} {size}" for size, count in split.box_sizes.items())
        lines.append(f"{split.role} ({split.name}): {split.images} pictures, boxes: {sizes}")
        lines += [f"  {fact.label}: {fact.value}" for fact in _facts(split)]
        lines += [f"  {name}: {count}" for name, count in split.per_class.items()]
    for problem in diagnosis.problems:
        place = f"{problem.file}: {problem.where}" if problem.where else problem.file
        lines.append(f"{problem.severity}: {place}: {problem.reason}; {problem.hint} [{problem.code}]")
    lines += [f"{code}: {count} in all" for code, count in sorted(diagnosis.counts.items())]
    if diagnosis.recipe:
        lines.append(f"suggested: --recipe {diagnosis.recipe} --image-size {diagnosis.image_size}")
    lines += [f"suggested {fact.label}: {fact.value}; {fact.note}" for fact in _anchor_facts(diagnosis)]
    lines.append("training would stop here" if diagnosis.refused else "nothing that training would stop at")
    return lines


def _refuse_inside(html: Path, data: Path) -> None:
    """Refuse to write where the data are."""
    home = os.path.realpath(data if data.is_dir() else data.parent)
    if data.is_dir() and os.path.realpath(html).startswith(home.rstrip(os.sep) + os.sep):
        raise UsageError(f"--html {html} lies inside the data, where nothing is written; choose another folder")


def _facts(split: SplitSummary) -> list[records.Fact]:
    """Return what a split is like beyond its counts of classes and sizes."""
    facts = [
        records.Fact("pictures without boxes", f"{split.empty_images} of {split.images}"),
        records.Fact("boxes per picture", f"{split.density[0]:.1f} on average, {split.density[1]} at most"),
    ]
    if split.ignored:
        facts.append(records.Fact("ignore regions", str(split.ignored)))
    if split.sides_share:
        low, middle, high = (f"{100 * share:.1f}" for share in split.sides_share)
        facts.append(
            records.Fact(
                "object side", f"{middle} % of the picture's", f"of ten, one is below {low} %, one above {high} %"
            )
        )
    for name, share in (("occluded", split.occluded), ("truncated", split.truncated)):
        if share is not None:
            facts.append(records.Fact(name, f"{100 * share:.1f} % of boxes"))
    return facts


def _anchor_facts(diagnosis: Diagnosis) -> list[records.Fact]:
    found = diagnosis.anchors
    if found is None:
        return []
    value = f"side of {found.scale:g} strides, height / width of {', '.join(f'{r:g}' for r in found.ratios)}"
    note = f"{found.covered:.0%} of boxes are covered by half, {found.usual_covered:.0%} by the recipe's"
    return [records.Fact("anchors", value, note)]


def _page(
    diagnosis: Diagnosis, annotations: dict[str, Annotations], samples: tuple[page.Sample, ...]
) -> page.DoctorPage:
    """Turn a diagnosis into what the page shows."""
    wrong = sorted({p.code for p in diagnosis.problems if p.severity == "refused"})
    learned = annotations.get("train")
    proposals, commands = [], []
    if diagnosis.recipe:
        proposals = [
            records.Fact("recipe", diagnosis.recipe),
            records.Fact("image size", f"{diagnosis.image_size} px", "where most objects of every class measure 16 px"),
            *_anchor_facts(diagnosis),
        ]
    if not diagnosis.refused:
        options = f"--recipe {diagnosis.recipe} --image-size {diagnosis.image_size}"
        line = f"spnas search --data {shlex.quote(diagnosis.path)} {options}"
        commands = [records.Command("Search a backbone for these data", line)]
    return page.DoctorPage(
        title=diagnosis.path,
        headline="Training would stop at these data" if wrong else "These data can be learned from",
        healthy=not wrong,
        sentences=(f"Because of: {', '.join(wrong)}.",) if wrong else (),
        problems=_problem_rows(diagnosis),
        proposals=tuple(proposals),
        splits=tuple(_split(split) for split in diagnosis.splits),
        pairs=diagnosis.alike[:PAIRS_SHOWN],
        samples=samples,
        classes=learned.classes if learned is not None else (),
        commands=tuple(commands),
    )


def _problem_rows(diagnosis: Diagnosis) -> tuple[page.ProblemRow, ...]:
    rows: dict[str, list[str]] = {}
    first: dict[str, Problem] = {}
    for problem in diagnosis.problems:
        first.setdefault(problem.code, problem)
        place = f"{problem.file}: {problem.where}" if problem.where else problem.file
        rows.setdefault(problem.code, []).append(f"{place}: {problem.reason}")
    return tuple(
        page.ProblemRow(
            severity=first[code].severity,
            code=code,
            count=diagnosis.counts.get(code, len(cases)),
            cases=tuple(cases[:CASES_SHOWN]),
            hint=first[code].hint,
        )
        for code, cases in rows.items()
    )


def _split(split: SplitSummary) -> page.Split:
    ranked = sorted(split.per_class.items(), key=lambda item: -item[1])
    more = f"and {len(ranked) - CLASSES_SHOWN} more" if len(ranked) > CLASSES_SHOWN else ""
    return page.Split(
        name=f"{split.role}: {split.name}, {split.images} pictures, {split.boxes} boxes",
        facts=tuple(_facts(split)),
        bars=(
            page.Bars("Boxes by class", tuple(ranked[:CLASSES_SHOWN]), more),
            page.Bars("Boxes by side", tuple(split.sides_px.items()), "square root of the area, px of the picture"),
            page.Bars("Boxes by COCO's size", tuple(split.box_sizes.items())),
            page.Bars("Pictures by boxes in them", tuple(split.boxes_per_picture.items())),
        ),
    )


def _samples(annotations: dict[str, Annotations], diagnosis: Diagnosis) -> tuple[page.Sample, ...]:
    """Draw pictures with objects, spread over train; those that did not decode in a child are left alone."""
    known = annotations.get("train")
    if known is None:
        return ()
    bad = set(diagnosis.undecodable)
    usable = [i for i in np.flatnonzero(np.diff(known.first)).tolist() if escape(str(known.path(i))) not in bad]
    places = np.linspace(0, len(usable) - 1, min(SAMPLES, len(usable))).round().astype(int)
    samples = []
    for index in (usable[place] for place in places.tolist()):
        try:
            pixels = read_picture(known.path(index))
        except DataError:
            continue  # changed since it was looked at
        shrink = min(1.0, SAMPLE_PX / max(pixels.shape[:2]))
        size = (max(1, round(pixels.shape[1] * shrink)), max(1, round(pixels.shape[0] * shrink)))
        small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
        rows = known.rows(index)
        targets = known.targets[rows]
        labels = [known.classes[k] for k in known.labels[rows][targets].tolist()]
        drawn = draw_boxes(
            small,
            known.boxes[rows][targets] * shrink,
            labels=labels,
            classes=known.classes,
            scale=max(1, SAMPLE_PX // 2 // max(size)),
        )
        samples.append(page.Sample(name=known.files[index], image=encode(drawn), labels=tuple(sorted(set(labels)))))
    return tuple(samples)
