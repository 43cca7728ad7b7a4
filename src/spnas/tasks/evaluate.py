"""`spnas evaluate`: a model, or detections made elsewhere, on the val of a data set, by benchmarks' own protocols."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from spnas.data import formats
from spnas.data.batches import Pictures, eval_batches
from spnas.data.choice import DataChoice, choice_of
from spnas.data.formats import Format
from spnas.data.open import detect_format, open_split
from spnas.data.records import Annotations
from spnas.data.source import first_bytes
from spnas.errors import DataError, UsageError
from spnas.evaluate import metrics as shelf
from spnas.evaluate.detect import Found, detect
from spnas.evaluate.frames import read_folder
from spnas.evaluate.metrics import Metric, Scores
from spnas.evaluate.results import read_results, write_results
from spnas.runs.files import write_atomic
from spnas.shelf import take
from spnas.talk import Part, Talk
from spnas.tasks.overwrite import refuse_no_folder, refuse_other_file
from spnas.tasks.source import open_for, with_classes_of
from spnas.tasks.start import load_detector

BATCH = 16


class EvaluateResult(msgspec.Struct, frozen=True, kw_only=True):
    """Scores by metric; NaN becomes None in JSON. `model` is a file of detections where one was given."""

    model: str
    pictures: int
    scores: dict[str, Scores]
    results: str | None = None


def evaluate(
    model: str | Path,
    *,
    data: str | Path | DataChoice | None = None,
    metric: tuple[str, ...] = ("coco",),
    results: str | Path | None = None,
    pictures: bool = True,
    talk: Talk | None = None,
) -> EvaluateResult:
    """Judge a model (bundle or weights file) or detections made elsewhere on val.

    Args:
      model: detections are COCO's results or BDD100K's frames (.json), or a folder of EuroCity Persons' files.
      results: where detections go, in COCO's form with original ids.
      pictures: False to judge detections without the pictures, which need not be there.
    Raises: UsageError, DataError (also when the classes of data and model differ), IntegrityError.
    """
    talk = talk or Talk(quiet=True)
    scorers = {name: cast(Metric, take(shelf, name)) for name in metric}
    choice = choice_of(data)
    if results is not None:
        refuse_no_folder(Path(results), "--results")
        refuse_other_file(Path(results), "--results")
    read = _reader(Path(model))
    if read is not None:
        judged, found = _judge_results(choice, read, with_pictures=pictures, talk=talk)
        _check(scorers, judged)
    elif not pictures:
        raise UsageError("--no-pictures is for files of detections; a model has to look at pictures")
    else:
        judged, found = _look(Path(model), choice, scorers, talk=talk)
    if results is not None:
        write_atomic(Path(results), write_results(judged, found))
    return EvaluateResult(
        model=str(model),
        pictures=len(judged),
        scores={name: scorer.score(judged, found) for name, scorer in scorers.items()},
        results=str(results) if results is not None else None,
    )


def _check(scorers: dict[str, Metric], judged: Annotations) -> None:
    for scorer in scorers.values():
        scorer.check(judged)


def _look(model: Path, choice: DataChoice, scorers: dict[str, Metric], *, talk: Talk) -> tuple[Annotations, Found]:
    """Let a model look at the pictures of val, after all that could be in the way of judging it."""
    detector, config = load_detector(model)
    judged = with_classes_of(model, config.classes, open_for(choice, talk).val)
    _check(scorers, judged)
    pictures = Pictures(judged, config.resize)
    with talk.progress():
        found = detect(
            detector,
            eval_batches(pictures, batch_size=BATCH),
            progress=lambda done: talk.show([Part("pictures", done, len(pictures))]),
        )
    return judged, found


Read = Callable[[Annotations], Found]


def _reader(path: Path) -> Read | None:
    """Return what reads `path` when it holds detections; None when it is to be taken for a model."""
    if path.is_file() and path.suffix.lower() == ".json":
        return lambda annotations: read_results(path, annotations)
    first = next(iter(sorted([*path.glob("*.json"), *path.glob("*/*.json")])), None) if path.is_dir() else None
    if first is not None and b'"identity"' in first_bytes(first):
        return lambda annotations: read_folder(path, annotations)
    return None


def _judge_results(choice: DataChoice, read: Read, *, with_pictures: bool, talk: Talk) -> tuple[Annotations, Found]:
    """Return detections with what they are judged on: val; of data without one, all of it.

    Where training sets a part aside for val, detections of that part alone are judged on it.
    """
    if choice.path is None:
        judged = open_for(choice, talk).val
        return judged, read(judged)
    path = Path(choice.path)
    name = choice.format or detect_format(path)
    reader = cast(Format, take(formats, name))
    split = choice.val or reader.usual_split(path, "val")
    whole = split or choice.train or reader.usual_split(path, "train")
    if whole is None:
        raise DataError(path, "", "splits-unknown", "has nothing to judge on", f"expected {reader.LAYOUT}")
    judged = open_split(
        path,
        split=whole,
        format=name,
        max_bad=choice.max_bad,
        with_pictures=with_pictures,
        allow_outside=Path(choice.allow_outside) if choice.allow_outside else None,
    )
    found = read(judged)
    if split is None and with_pictures:
        carved = open_for(choice, Talk(quiet=True)).val
        if {judged.files[i] for i in np.unique(found.image_index)} <= set(carved.files):
            judged, found = carved, read(carved)
    talk.say(f"{judged.name}: {len(judged)} pictures, {len(judged.labels)} boxes, {len(found.scores)} detections")
    return judged, found


def describe(result: EvaluateResult) -> list[str]:
    """Return what a person reads."""
    lines = []
    for name, scores in result.scores.items():
        values = ", ".join(f"{key} {value:.3f}" for key, value in scores.values.items() if value == value)
        lower = "; lower is better" if scores.lower_is_better else ""
        lines += [f"{name} ({scores.protocol}{lower}) on {result.pictures} pictures: {values}"]
        lines += [f"  {label}: {value:.3f}" for label, value in scores.per_class.items() if value == value]
    return [*lines, *([f"detections: {result.results}"] if result.results else [])]
