"""Opening a user's data for a task, and telling what was in it."""

from pathlib import Path

import msgspec
import numpy as np

from spnas.data.choice import DataChoice
from spnas.data.open import open_choice
from spnas.data.records import Annotations, DataReport, DataSet
from spnas.errors import DataError
from spnas.talk import Talk


def open_for(choice: DataChoice, talk: Talk) -> DataSet:
    """Open the data and say what it is. Raises: DataError when it cannot be used."""
    data = open_choice(choice)
    for part in (data.train, data.val):
        talk.say(f"{part.name}: {len(part)} pictures, {len(part.labels)} boxes, {len(part.classes)} classes")
    for line in findings_of(data.reports):
        talk.say(line)
    return data


def findings_of(reports: tuple[DataReport, ...]) -> list[str]:
    """Return one line for each kind of finding, with its count and its first place."""
    lines = []
    for report in reports:
        for code, count in sorted(report.counts.items()):
            first = next((f for f in report.findings if f.code == code), None)
            if first is not None:
                times = f"{count} such, the first: " if count > 1 else ""
                place = f"{first.file}: {first.where}" if first.where else str(first.file)
                lines.append(f"{first.outcome}: {times}{place}: {first.reason} [{code}]")
    return lines


def with_classes_of(model: Path, classes: tuple[str, ...], annotations: Annotations) -> Annotations:
    """Return the data with labels that mean the same as the model's, whose `classes` may stand in another order.

    Raises: DataError when they are others.
    """
    if set(annotations.classes) == set(classes):
        order = [annotations.classes.index(name) for name in classes]
        return msgspec.structs.replace(
            annotations,
            classes=classes,
            category_ids=tuple(annotations.category_ids[i] for i in order),
            labels=np.argsort(order)[annotations.labels],
        )
    matching = sum(1 for label in annotations.labels.tolist() if annotations.classes[label] in classes)
    raise DataError(
        annotations.root,
        "",
        "classes-differ",
        f"{matching} of {len(annotations.labels)} boxes match the class list; data has "
        f"{', '.join(annotations.classes[:8])}, model {model} has {', '.join(classes[:8])}",
        "evaluate on the data the model was trained for, or train a model for these",
    )
