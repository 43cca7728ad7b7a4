"""Objects cut out of a detection data set, as pictures of one class each: what re-ignites a backbone where there are
no image folders."""

import itertools

import numpy as np
from numpy.typing import NDArray

from spnas.data.labelled import Labelled, LabelledSet, fingerprint_of
from spnas.data.records import Annotations
from spnas.data.split import carve
from spnas.errors import DataError, escape
from spnas.rng import rng as keyed_rng

CONTEXT = 0.25  # added to the longer side of a box, half of it on either side
LEAST_SIDE_PX = 16
FEWEST = 10  # objects a class needs in train: fewer teach its name, not its looks
VAL_SHARE = 0.1
TRIES = 20  # windows looked at for one of background
BACKGROUND = "background"


def object_crops(annotations: Annotations, *, fingerprint: str, seed: int = 0) -> LabelledSet:
    """Cut every object out of the pictures: a square around it with some context, at least 16 px wide.

    A square is moved into its picture as far as it fits. A tenth of the pictures is set aside as val; no picture is on
    both sides. Ignore regions are not cut out, and classes with fewer than 10 objects in train are left out, with a
    note. If one class remains, as many windows of background, which touch no box, are a second one.

    Args: fingerprint: of the data set that `annotations` belong to.
    Raises: DataError when too little is left.
    """
    with_objects = np.unique(np.repeat(np.arange(len(annotations)), np.diff(annotations.first))[annotations.targets])
    objects = annotations.select(with_objects, name=annotations.name)
    learned, judged = carve(objects, share=VAL_SHARE, seed=seed)
    counts = np.bincount(learned.labels[learned.targets], minlength=len(annotations.classes))
    kept = np.flatnonzero(counts >= FEWEST)
    if not len(kept):
        raise DataError(
            escape(str(annotations.root)),
            annotations.name,
            "no-boxes",
            f"no class has {FEWEST} objects in {len(learned)} pictures to learn from",
            "annotate more, or train on an image folder",
        )
    absent = np.bincount(objects.labels[objects.targets], minlength=len(annotations.classes))
    notes = [
        f"class {escape(annotations.classes[c])!r} is left out: {counts[c]} objects to learn from, at least {FEWEST} "
        "are needed"
        for c in np.flatnonzero((counts < FEWEST) & (absent > 0))
    ]
    alone = len(kept) == 1
    train, val = (_cut(part, kept, background=alone, seed=seed) for part in (learned, judged))
    if alone:
        notes.append(f"one class only: windows without objects are a second one, {train.classes[1]!r}")
    for part, what in ((train, "learn from"), (val, "judge on")):
        missing = [escape(n) for n, count in zip(part.classes, part.counts, strict=True) if not count]
        if not len(part) or (alone and missing):
            reason = f"{len(part)} crops to {what}" + (f", and none of {', '.join(missing)}" if missing else "")
            hint = "annotate more pictures, also such with free background, or train on an image folder"
            raise DataError(escape(str(annotations.root)), annotations.name, "too-few-pictures", reason, hint)
    return LabelledSet(train=train, val=val, notes=tuple(notes), fingerprint=fingerprint_of(fingerprint, train, val))


def windows(boxes: NDArray[np.float64], frames: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the squares (M, 4) around `boxes` (M, 4), xyxy, in pictures of these widths and heights (M, 2).

    A square larger than the picture has it in its middle.
    """
    sides = np.round((boxes[:, 2:] - boxes[:, :2]).max(axis=1) * (1 + CONTEXT))
    sides = np.maximum(sides, LEAST_SIDE_PX).astype(np.int64)[:, None]
    corner = np.floor((boxes[:, :2] + boxes[:, 2:] - sides) / 2 + 0.5).astype(np.int64)
    room = frames - sides
    corner = np.where(room >= 0, np.clip(corner, 0, np.maximum(room, 0)), room // 2)
    return np.concatenate((corner, corner + sides), axis=1)


def _cut(part: Annotations, kept: NDArray[np.int64], *, background: bool, seed: int) -> Labelled:
    """Return the crops of the classes `kept`, picture by picture."""
    place = np.full(len(part.classes), -1, np.int64)
    place[kept] = np.arange(len(kept))
    owner = np.repeat(np.arange(len(part)), np.diff(part.first))
    rows = np.flatnonzero(part.targets & (place[part.labels] >= 0))
    cuts, labels, owners = windows(part.boxes[rows], part.sizes[owner[rows]]), place[part.labels[rows]], owner[rows]
    classes = tuple(part.classes[c] for c in kept)
    if background:
        names = itertools.chain((BACKGROUND,), (f"{BACKGROUND} {n}" for n in itertools.count(2)))
        classes = (*classes, next(name for name in names if name not in classes))
        free = [_free_windows(part, index, cuts[owners == index], seed=seed) for index in range(len(part))]
        cuts = np.concatenate((cuts, *free))
        labels = np.concatenate((labels, np.ones(sum(map(len, free)), np.int64)))
        owners = np.concatenate((owners, np.repeat(np.arange(len(part)), [len(f) for f in free])))
    order = np.argsort(owners, kind="stable")
    return Labelled(
        name=part.name,
        root=part.root,
        classes=classes,
        files=tuple(part.files[i] for i in owners[order]),
        sizes=part.sizes[owners[order]],
        labels=labels[order],
        cuts=cuts[order],
    )


def _free_windows(part: Annotations, index: int, cuts: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Return up to as many windows of one picture as `cuts`, of their sizes, that touch no box and no ignore region."""
    draw = keyed_rng(seed, f"background of {part.files[index]}")
    boxes = part.boxes[part.rows(index)]
    frame = part.sizes[index].astype(np.int64)
    found: list[NDArray[np.int64]] = []
    for side in (cuts[:, 2] - cuts[:, 0]).tolist():
        spots = draw.random((TRIES, 2))
        side = min(side, int(frame.min()))
        corners = np.floor(spots * (frame - side + 1)).astype(np.int64)
        apart = (corners[:, None] >= boxes[:, 2:]) | (corners[:, None] + side <= boxes[:, :2])
        good = np.flatnonzero(apart.any(axis=2).all(axis=1))
        if len(good):
            found.append(np.concatenate((corners[good[0]], corners[good[0]] + side)))
    return np.array(found, np.int64).reshape(-1, 4)
