"""`spnas predict`: find objects in pictures; drawn pictures and COCO results come out."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from spnas.data.choice import DataChoice, choice_of
from spnas.data.pictures import picture_size
from spnas.errors import UsageError, utf8
from spnas.evaluate.detect import Found
from spnas.evaluate.results import write_results
from spnas.predict import Detections, load
from spnas.predict.sources import files_of
from spnas.predict.tiles import tiling_of
from spnas.report import encode
from spnas.runs.files import faults_named, write_atomic
from spnas.talk import Part, Talk
from spnas.tasks.gallery import SHOWN_PX
from spnas.tasks.overwrite import DRAWN, RESULTS, refuse_other_folder
from spnas.tasks.source import open_for, with_classes_of

LONGEST_STEM = 120  # bytes of a name: file systems take 255, some fewer


class PredictResult(msgspec.Struct, frozen=True, kw_only=True):
    """Where drawn pictures and detections lie; `drawn` counts detections of at least `score`, `earlier` drawn pictures
    that other runs left in the folder."""

    folder: str
    results: str
    pictures: int
    detections: int
    drawn: int
    score: float
    earlier: int = 0


def predict(
    images: Sequence[str | Path],
    *,
    model: str | Path,
    out: str | Path = "predictions",
    data: str | Path | DataChoice | None = None,
    score: float = 0.5,
    tile: int | tuple[int, int] | None = None,
    talk: Talk | None = None,
) -> PredictResult:
    """Find objects in picture files, in folders of them, or in the val of `data` (whose ids are then written).

    Detections above the model's own threshold go into `results.json`; those of at least `score` are drawn.

    Args: tile: side, or (side, overlap), of the tiles that large pictures are cut into, see `spnas.Model.predict`.
    Raises: UsageError when there is no picture, or something else in `out`; DataError for a picture that cannot be
    read; IntegrityError.
    """
    talk = talk or Talk(quiet=True)
    tiling_of(tile)
    if data is not None and images:
        raise UsageError("give either pictures or --data, not both")
    folder = Path(out)
    refuse_other_folder(folder, "--out")
    looker = load(model)
    val = open_for(choice_of(data), talk).val if data is not None else None
    if val is not None:
        val = with_classes_of(Path(model), looker.classes, val)
        files = [val.path(i) for i in range(len(val))]
    else:
        files = [file for path in images for file in files_of(Path(path))]
        if not files:
            raise UsageError("no pictures to look at; name files, or folders that hold .jpg or .png files")
        for file in files:
            picture_size(file)  # what cannot be read is said before the work begins
    found: list[Detections] = []
    with talk.progress():
        for one in looker.stream(files, score=0, tile=tile):
            found.append(one)
            talk.show([Part("pictures", len(found), len(files))])
    with faults_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if val is not None:
        results = write_results(val, _gathered(found))
    else:
        rows = [row for one, file in zip(found, files, strict=True) for row in one.to_coco(utf8(str(file)))]
        results = msgspec.json.encode(rows)
    write_atomic(folder / RESULTS, results)
    with talk.progress():
        drawn: set[str] = set()
        for one in found:
            drawn.add(_draw(folder, len(drawn), one.above(score)))
            talk.show([Part("drawn", len(drawn), len(files))])
    return PredictResult(
        folder=str(folder),
        results=str(folder / RESULTS),
        pictures=len(files),
        detections=sum(map(len, found)),
        drawn=sum(len(one.above(score)) for one in found),
        score=score,
        earlier=sum(1 for p in folder.iterdir() if DRAWN.fullmatch(p.name) and p.name not in drawn),
    )


def _gathered(found: list[Detections]) -> Found:
    return Found(
        image_index=np.repeat(np.arange(len(found)), [len(one) for one in found]),
        boxes=np.concatenate([one.boxes for one in found]),
        scores=np.concatenate([one.scores for one in found]),
        labels=np.concatenate([one.labels for one in found]),
    )


def _draw(folder: Path, index: int, found: Detections) -> str:
    """Write a picture with what was found in it, and return the file's name."""
    data = encode(np.asarray(found.plot(scale=max(1, SHOWN_PX // max(found.size)))))
    endings = ("png", "jpg") if data.startswith(b"\x89PNG") else ("jpg", "png")
    assert found.path is not None
    stem = Path(found.path).stem
    while len(os.fsencode(stem)) > LONGEST_STEM:
        stem = stem[:-1]
    names = [f"{index:05d}-{stem}.{ending}" for ending in endings]
    write_atomic(folder / names[0], data)
    (folder / names[1]).unlink(missing_ok=True)  # the same picture of an earlier run
    return names[0]


def describe(result: PredictResult) -> list[str]:
    """Return what a person reads."""
    return [
        f"{result.detections} detections in {result.pictures} pictures, {result.drawn} of at least {result.score:g}",
        f"these drawn: {result.folder}",
        *([f"  with {result.earlier} of an earlier run, which stay as they are"] if result.earlier else []),
        f"detections: {result.results}",
    ]
