"""`spnas predict`: find objects in pictures; drawn pictures and COCO results come out."""

from pathlib import Path

import msgspec
import numpy as np

from spnas.assess import EVAL_BATCH
from spnas.data.batches import Pictures, eval_batches
from spnas.data.open import open_data
from spnas.data.pictures import picture_size, read_picture
from spnas.data.records import Annotations
from spnas.errors import DataError, UsageError
from spnas.evaluate.detect import detect
from spnas.evaluate.results import write_results
from spnas.runs.files import faults_named, write_atomic
from spnas.talk import Part, Talk
from spnas.tasks.gallery import draw_found
from spnas.tasks.source import refuse_other_classes
from spnas.train.weights import ModelConfig, load_model

ENDINGS = {".jpg", ".jpeg", ".png"}


class PredictResult(msgspec.Struct, frozen=True, kw_only=True):
    """Where drawn pictures and detections lie."""

    folder: str
    results: str
    pictures: int
    detections: int


def predict(
    images: list[str] | list[Path],
    *,
    model: str | Path,
    out: str | Path = "predictions",
    data: str | Path | None = None,
    score: float = 0.5,
    talk: Talk | None = None,
) -> PredictResult:
    """Find objects in picture files, in folders of them, or in the val of `data` (whose ids are then written).

    Detections above the model's own threshold go into `results.json`; those above `score` are drawn.

    Raises: UsageError when there is no picture; DataError for a picture that cannot be read; IntegrityError.
    """
    talk = talk or Talk(quiet=True)
    detector, config = load_model(Path(model))
    if data is not None:
        if images:
            raise UsageError("give either pictures or --data, not both")
        annotations = open_data(Path(data)).val
        refuse_other_classes(annotations, config.classes, Path(model))
    else:
        annotations = _bare([Path(i) for i in images], config)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder}: a file of that name is in the way; give another folder")
    with faults_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    pictures = Pictures(annotations, config.resize)
    with talk.progress():
        found = detect(
            detector,
            eval_batches(pictures, batch_size=EVAL_BATCH),
            progress=lambda done: talk.show([Part("pictures", done, len(pictures))]),
        )
    for index in range(len(annotations)):
        drawn = draw_found(read_picture(annotations.path(index)), found, index, config.classes, threshold=score)
        ending = "png" if drawn.startswith(b"\x89PNG") else "jpg"
        write_atomic(folder / f"{index:05d}-{Path(annotations.files[index]).stem[:80]}.{ending}", drawn)
    write_atomic(folder / "results.json", write_results(annotations, found))
    return PredictResult(
        folder=str(folder),
        results=str(folder / "results.json"),
        pictures=len(annotations),
        detections=len(found.scores),
    )


def _bare(images: list[Path], config: ModelConfig) -> Annotations:
    """Describe picture files as annotations without boxes; their ids are the paths as they were given."""
    files: list[Path] = []
    for path in images:
        if path.is_dir():
            files += sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS)
        elif path.exists():
            files.append(path)
        else:
            raise DataError(path, "", "picture-missing", "no such picture or folder", "check the path")
    if not files:
        raise UsageError("no pictures to look at; name files, or folders that hold .jpg or .png files")
    count = len(files)
    return Annotations(
        name="pictures",
        root=Path(),
        classes=config.classes,
        files=tuple(map(str, files)),
        image_ids=tuple(map(str, files)),
        box_ids=(),
        category_ids=config.category_ids,
        sizes=np.array([picture_size(f) for f in files], np.int32).reshape(-1, 2),
        first=np.zeros(count + 1, np.int64),
        boxes=np.zeros((0, 4)),
        labels=np.zeros(0, np.int64),
        flags=np.zeros(0, np.uint8),
        areas=np.zeros(0),
    )


def describe(result: PredictResult) -> list[str]:
    """Return what a person reads."""
    return [
        f"{result.detections} detections in {result.pictures} pictures",
        f"drawn pictures: {result.folder}",
        f"detections: {result.results}",
    ]
