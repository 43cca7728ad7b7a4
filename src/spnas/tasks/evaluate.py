"""`spnas evaluate`: a model on the val of a data set, by a benchmark's own protocol."""

from pathlib import Path

import msgspec

from spnas.data.batches import Pictures, eval_batches
from spnas.data.records import Annotations
from spnas.errors import DataError
from spnas.evaluate import metrics as shelf
from spnas.evaluate.detect import detect
from spnas.evaluate.metrics import Scores
from spnas.evaluate.results import write_results
from spnas.runs.files import write_atomic
from spnas.shelf import take
from spnas.talk import Part, Talk
from spnas.tasks.source import choose, open_for
from spnas.train.weights import load_model

BATCH = 16


class EvaluateResult(msgspec.Struct, frozen=True, kw_only=True):
    """Scores by metric; NaN becomes None in JSON."""

    model: str
    pictures: int
    scores: dict[str, Scores]
    results: str | None = None


def evaluate(
    model: str | Path,
    *,
    data: str | Path | None = None,
    metric: tuple[str, ...] = ("coco",),
    results: str | Path | None = None,
    format: str | None = None,
    train: str | None = None,
    val: str | None = None,
    max_bad: float = 0.01,
    talk: Talk | None = None,
) -> EvaluateResult:
    """Judge a bundle or a weights file on val; `results` is where detections go, in COCO's form with original ids.

    Raises: UsageError, DataError (also when the classes of data and model differ), IntegrityError.
    """
    talk = talk or Talk(quiet=True)
    scorers = {name: take(shelf, name) for name in metric}
    detector, config = load_model(Path(model))
    opened = open_for(choose(data, format=format, train=train, val=val, max_bad=max_bad), talk)
    refuse_other_classes(opened.val, config.classes, Path(model))
    pictures = Pictures(opened.val, config.resize)
    with talk.progress():
        found = detect(
            detector,
            eval_batches(pictures, batch_size=BATCH),
            progress=lambda done: talk.show([Part("pictures", done, len(pictures))]),
        )
    if results is not None:
        write_atomic(Path(results), write_results(opened.val, found))
    return EvaluateResult(
        model=str(model),
        pictures=len(pictures),
        scores={name: scorer.score(opened.val, found) for name, scorer in scorers.items()},
        results=str(results) if results is not None else None,
    )


def refuse_other_classes(annotations: Annotations, classes: tuple[str, ...], model: Path) -> None:
    """Make sure that labels mean the same to data and model."""
    if annotations.classes == classes:
        return
    matching = sum(1 for label in annotations.labels.tolist() if annotations.classes[label] in classes)
    raise DataError(
        annotations.root,
        "",
        "classes-differ",
        f"{matching} of {len(annotations.labels)} boxes match the class list; data has "
        f"{', '.join(annotations.classes[:8])}, model {model} has {', '.join(classes[:8])}",
        "evaluate on the data the model was trained for, or train a model for these",
    )


def describe(result: EvaluateResult) -> list[str]:
    """Return what a person reads."""
    lines = []
    for name, scores in result.scores.items():
        values = ", ".join(f"{key} {value:.3f}" for key, value in scores.values.items() if value == value)
        lines += [f"{name} ({scores.protocol}) on {result.pictures} pictures: {values}"]
        lines += [f"  {label}: {value:.3f}" for label, value in scores.per_class.items() if value == value]
    return [*lines, *([f"detections: {result.results}"] if result.results else [])]
