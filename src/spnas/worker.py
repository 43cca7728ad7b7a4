"""What a worker process does: it opens a study's data once, then assesses one candidate after the other."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from spnas.assess import Materials, ParentWeights, assess, threads
from spnas.config import StudySettings
from spnas.data.batches import Pictures
from spnas.data.open import open_choice
from spnas.data.records import DataSet
from spnas.data.split import carve
from spnas.runs.folder import RunFolder
from spnas.study import Job

SECONDS_BETWEEN_SIGNS = 1.0


class Sign(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of life of a training, for whoever watches: it is overwritten, and nothing depends on it."""

    number: int
    step: int
    steps: int
    loss: float


def make_work(folder: str) -> Callable[[bytes], bytes]:
    """Return the function that turns a job into an outcome, for the study in `folder`."""
    run = RunFolder(folder)
    settings = msgspec.json.decode(run.settings(), type=StudySettings)
    threads(1)
    data = open_choice(settings.data)
    materials = materials_for(data, settings)

    def work(job: bytes) -> bytes:
        task = msgspec.json.decode(job, type=Job)
        candidate = task.candidate
        parent = None
        if task.parent_weights and task.parent_sha256:
            parent = ParentWeights(run.path_of(task.parent_weights), task.parent_sha256)
        outcome = assess(
            candidate,
            settings.recipe,
            materials,
            parent=parent,
            weights=run.weights(candidate.number),
            checkpoint=run.checkpoint(candidate.number) / "training.safetensors",
            on_step=_sign(run, candidate.number, candidate.steps),
        )
        shutil.rmtree(run.checkpoint(candidate.number), ignore_errors=True)  # the weights are in place
        return msgspec.json.encode(outcome)

    return work


def materials_for(data: DataSet, settings: StudySettings) -> Materials:
    """Split the data as the study does: search-validation is carved from train, val is left to the finalists."""
    train, search_val = carve(data.train, share=settings.search_val_share, seed=settings.search.seed)
    resize = settings.recipe.resize
    return Materials(
        train=Pictures(train, resize),
        search_val=Pictures(search_val, resize),
        whole_train=Pictures(data.train, resize),
        val=Pictures(data.val, resize),
    )


def _sign(run: RunFolder, number: int, steps: int) -> Callable[[int, dict[str, float]], None]:
    path = sign_path(run, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = 0.0

    def show(step: int, terms: dict[str, float]) -> None:
        nonlocal shown
        if time.monotonic() - shown > SECONDS_BETWEEN_SIGNS:
            shown = time.monotonic()
            path.write_bytes(msgspec.json.encode(Sign(number=number, step=step, steps=steps, loss=sum(terms.values()))))

    return show


def sign_path(run: RunFolder, number: int) -> Path:
    """Return where a training leaves its signs of life."""
    return run.checkpoint(number) / "sign.json"


def read_sign(run: RunFolder, number: int) -> Sign | None:
    """Return the last sign of life of a training, if there is one to be read."""
    try:
        return msgspec.json.decode(sign_path(run, number).read_bytes(), type=Sign)
    except (OSError, msgspec.DecodeError):
        return None
