"""`spnas train`: one detector around one backbone, on a user's data."""

import time
from pathlib import Path

import msgspec

from spnas.arch import Candidate
from spnas.arch.published import arch_of
from spnas.assess import Materials, Recipe, assess, threads
from spnas.config import data_name, recipe_for, recipe_name_for, resize_for
from spnas.data.batches import Pictures
from spnas.data.choice import DataChoice, choice_of
from spnas.errors import UsageError
from spnas.runs.files import write_atomic
from spnas.runs.folder import RunFolder
from spnas.talk import Part, Talk, duration
from spnas.tasks.resume import begin_or_go_on, stored_settings
from spnas.tasks.source import open_for
from spnas.train.loop import Diverged
from spnas.train.weights import load_model, write_bundle

DEFAULT_EPOCHS = 36


class TrainRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training is, once and for all."""

    data: DataChoice
    fingerprint: str
    arch: str
    recipe: Recipe
    steps: int
    seed: int


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model lies and what it reached on val."""

    folder: str
    model: str
    arch: str
    steps: int
    metrics: dict[str, float]
    seconds: float


def train(
    arch: str,
    *,
    data: str | Path | DataChoice | None = None,
    out: str | Path | None = None,
    steps: int | None = None,
    image_size: int | None = None,
    recipe: str | None = None,
    batch_size: int | None = None,
    detector: str = "faster_rcnn",
    seed: int = 0,
    thread_count: int | None = None,
    talk: Talk | None = None,
) -> TrainResult:
    """Train `arch` from scratch and judge it on val; the same call goes on with a training that was interrupted.

    Raises: UsageError, DataError, StudyInUseError, ResourceError, IntegrityError.
    """
    talk = talk or Talk(quiet=True)
    if steps is not None and steps < 1:
        raise UsageError(f"--steps {steps}: give at least 1")
    parsed = arch_of(arch)
    choice = choice_of(data)
    folder = RunFolder(out or Path("runs") / f"train-{data_name(choice)}-{parsed.id}")
    opened = open_for(choice, talk)
    kind = recipe_name_for(recipe)
    resize = resize_for(kind, image_size, opened.train)
    resolved = recipe_for(kind, resize, batch_size=batch_size, detector=detector)
    steps = steps or max(1, DEFAULT_EPOCHS * len(opened.train) // resolved.train_settings.batch_size)
    run = TrainRun(
        data=choice, fingerprint=opened.fingerprint, arch=parsed.text, recipe=resolved, steps=steps, seed=seed
    )
    with folder.lock():
        begin_or_go_on(folder, run, stored_settings(folder, TrainRun))
        learn, judge = Pictures(opened.train, resize), Pictures(opened.val, resize)
        if not (folder.best / "manifest.json").exists():
            materials = Materials(train=learn, search_val=judge, whole_train=learn, val=judge)
            _train(folder, run, materials, thread_count, talk)
        _, config = load_model(folder.best)
        seconds = msgspec.json.decode((folder.root / "result.json").read_bytes(), type=dict[str, float])["seconds"]
    return TrainResult(
        folder=str(folder.root),
        model=str(folder.best),
        arch=parsed.text,
        steps=steps,
        metrics=config.metrics,
        seconds=seconds,
    )


def _train(folder: RunFolder, run: TrainRun, materials: Materials, thread_count: int | None, talk: Talk) -> None:
    if thread_count:
        threads(thread_count)
    began = time.monotonic()

    def show(step: int, terms: dict[str, float]) -> None:
        pace = (time.monotonic() - began) / step
        label = f"loss {sum(terms.values()):.3f}, about {duration(pace * (run.steps - step))} left"
        talk.show([Part(label, step, run.steps)])

    candidate = Candidate(number=0, role="final", arch=arch_of(run.arch), steps=run.steps, seed=run.seed)
    try:
        with talk.progress():
            assess(
                candidate,
                run.recipe,
                materials,
                parent=None,
                weights=folder.weights(0),
                checkpoint=folder.checkpoint(0) / "training.safetensors",
                on_step=show,
            )
    except Diverged as fault:
        raise UsageError(str(fault)) from None
    write_atomic(folder.root / "result.json", msgspec.json.encode({"seconds": time.monotonic() - began}))
    detector, config = load_model(folder.weights(0))
    folder.publish_best(lambda into: write_bundle(into, detector, config))


def describe(result: TrainResult) -> list[str]:
    """Return what a person reads at the end of a training."""
    ap, ap50 = result.metrics.get("ap", 0.0), result.metrics.get("ap50", 0.0)
    return [
        f"{result.arch}: AP {ap:.3f}, AP50 {ap50:.3f} on val after {result.steps} steps in {duration(result.seconds)}",
        f"model: {result.model}",
        f"next: spnas predict PICTURES --model {result.model}",
    ]
