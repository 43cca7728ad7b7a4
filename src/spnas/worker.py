"""What a worker process does: it opens a study's data once, then assesses one candidate after the other."""

import shutil
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec

from spnas.arch import Candidate, Outcome
from spnas.assess import Materials, ParentWeights, assess, threads
from spnas.config import StudySettings, labelled_for
from spnas.data.batches import Pictures
from spnas.data.open import open_choice
from spnas.data.records import Annotations, DataSet
from spnas.data.split import carve
from spnas.data.squares import SquareSet, squares_of
from spnas.errors import IntegrityError
from spnas.nets.cost import cost
from spnas.reignite import reignite
from spnas.runs.executors import FileRef
from spnas.runs.folder import RunFolder
from spnas.study import Done, Job

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
    if data.fingerprint != settings.fingerprint:
        raise IntegrityError(
            f"{settings.data.path}: these data are not those that the study began with; restore them on every "
            "machine that works for it"
        )
    materials = materials_for(data, settings)
    squares = cache(partial(squares_for, materials.train.annotations, settings))

    def work(job: bytes) -> bytes:
        task = msgspec.json.decode(job, type=Job)
        candidate, weights = task.candidate, task.weights
        parent = ParentWeights(run.path_of(weights.name), weights.sha256) if weights else None
        progress = run.checkpoint(candidate.number if candidate.continues is None else candidate.continues)
        told: Any = {"checkpoint": progress / "training.safetensors", "on_step": _sign(run, candidate)}
        if candidate.role == "reignite":
            outcome = ignite(candidate, settings, squares(), parent, run.weights(candidate.number), **told)
        else:
            outcome = assess(
                candidate,
                settings.recipe,
                materials,
                parent=parent,
                weights=run.weights(candidate.number),
                metric=settings.search.objective.metric,
                as_released=settings.search.rules.released,
                **told,
            )
        if candidate.until is None:
            for rest in {progress, run.checkpoint(candidate.number)}:  # the weights are in place
                shutil.rmtree(rest, ignore_errors=True)
        made = (FileRef(outcome.weights, outcome.sha256),) if outcome.weights and outcome.sha256 else ()
        return msgspec.json.encode(Done(outcome=outcome, files=made))

    return work


def ignite(
    candidate: Candidate,
    settings: StudySettings,
    data: SquareSet,
    parent: ParentWeights | None,
    weights: Path,
    **told: Any,
) -> Outcome:
    """Train a backbone as a classifier; its errors are the outcome's metrics."""
    ignition = settings.ignition
    lit = reignite(
        candidate.arch,
        weights_from=parent,
        data=data,
        steps=candidate.steps,
        settings=ignition.train_settings,
        seed=candidate.seed,
        weights=weights,
        device=settings.recipe.device,
        **told,
    )
    return Outcome(
        number=candidate.number,
        metrics=lit.metrics,
        judged_on=ignition.name,
        gmacs=cost(candidate.arch, ignition.side, ignition.side).gmacs,
        params=lit.params,
        weights=f"weights/{weights.name}",
        sha256=lit.sha256,
        seconds=lit.seconds,
    )


def squares_for(learned: Annotations, settings: StudySettings) -> SquareSet:
    """Open the labelled pictures of a study's re-ignitions: a folder of classes, or crops of its own objects."""
    return squares_of(labelled_for(learned, settings.ignition, settings.fingerprint), settings.ignition.side)


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


def _sign(run: RunFolder, candidate: Candidate) -> Callable[[int, dict[str, float]], None]:
    number, steps = candidate.number, candidate.steps
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
