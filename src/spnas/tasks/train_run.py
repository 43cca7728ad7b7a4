"""What a training is, once and for all: a user's options, settled on the data and the machine at hand."""

from typing import Any

import msgspec
import numpy as np
import torch

from spnas.arch import Arch
from spnas.assess import Recipe, input_size, numbers_of
from spnas.config import recipe_for, recipe_name_for, resize_for
from spnas.data.batches import STRIDE, Pictures, Resize
from spnas.data.choice import DataChoice
from spnas.data.records import Annotations, DataSet
from spnas.errors import UsageError
from spnas.evaluate.detect import NOTHING_FOUND
from spnas.evaluate.metrics.coco import NAMES
from spnas.nets import detectors as shelf
from spnas.pace import USABLE, seconds_per_step
from spnas.shelf import nearest, take
from spnas.talk import Talk
from spnas.tasks.start import Start, start_of
from spnas.train.fit import parts_by_counting, parts_by_trying
from spnas.train.judge import USUAL
from spnas.train.options import TrainOptions
from spnas.train.ranks import Ranks
from spnas.train.settings import TrainSettings, refuse_impossible
from spnas.train.weights import ModelConfig, build

DEFAULT_EPOCHS = 36
# options that are settings of the training under the same name
SETTINGS = tuple(name for name in TrainSettings.__struct_fields__ if name in TrainOptions.__struct_fields__)


class TrainRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training is, once and for all; `hours` is unset in what was written before it was kept."""

    data: DataChoice
    fingerprint: str
    arch: str
    recipe: Recipe
    steps: int
    seed: int
    start: Start | None = None
    hours: float | msgspec.UnsetType | None = msgspec.UNSET


def device_here() -> str:
    """Return where this machine trains."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def settle(
    options: TrainOptions,
    stored: TrainRun | None,
    *,
    arch: Arch,
    choice: DataChoice,
    data: DataSet,
    ranks: Ranks,
    talk: Talk,
) -> TrainRun:
    """Return the training that `options` ask for; one that goes on keeps what was measured when it was begun.

    Raises: UsageError for what cannot be.
    """
    take(shelf, options.detector)
    kind = recipe_name_for(options.recipe)
    resize = resize_for(kind, options.image_size, data.train)
    batch_size = options.batch_size if isinstance(options.batch_size, int) else None
    recipe = recipe_for(kind, resize, batch_size=batch_size, detector=options.detector)
    given: dict[str, Any] = {n: v for n in SETTINGS if n != "batch_size" and (v := getattr(options, n)) is not None}
    settings = msgspec.structs.replace(recipe.train_settings, **given)
    recipe = msgspec.structs.replace(recipe, train_settings=settings)
    if stored is None:
        _refuse_idle(options, settings)
    if options.batch_size == "auto":
        if options.accumulate is not None:
            raise UsageError("--batch-size auto finds --accumulate by itself; give one of the two")
        settings = msgspec.structs.replace(
            settings, accumulate=_parts(recipe, stored, arch=arch, data=data, ranks=ranks)
        )
        recipe = msgspec.structs.replace(recipe, train_settings=settings)
        talk.say(f"batches of {settings.batch_size}, taken in {settings.accumulate} parts")
    side = _smallest_side(data.train, recipe)
    refuse_impossible(settings, device=recipe.device, ranks=ranks.count, stages=len(arch.stages), side=side)
    _refuse_unknown(settings, recipe)
    _refuse_nothing_to_measure(settings, data.val)
    return TrainRun(
        data=choice,
        fingerprint=data.fingerprint,
        arch=arch.text,
        recipe=recipe,
        steps=_steps(options, recipe, stored=stored, arch=arch, data=data, ranks=ranks, talk=talk),
        seed=options.seed,
        start=start_of(options.start),
        hours=msgspec.UNSET if stored is not None and stored.hours is msgspec.UNSET else options.hours,
    )


def _smallest_side(learned: Annotations, recipe: Recipe) -> int:
    """Return the longer side of the smallest input, with its padding."""
    rule, sides = recipe.resize, recipe.train_settings.sides
    rules = [Resize(None, side) if rule.short is None else Resize(side, rule.long) for side in sides] or [rule]
    sizes = np.unique(learned.sizes, axis=0).tolist()
    longest = min(max(rule.target(width, height)) for rule in rules for width, height in sizes)
    return -(-longest // STRIDE) * STRIDE


def _refuse_idle(options: TrainOptions, settings: TrainSettings) -> None:
    """Refuse what was asked for and would change nothing under this schedule and optimiser."""
    schedule, optimizer = settings.schedule, settings.optimizer
    idle = {
        "drops": schedule != "steps" and f"--schedule {schedule}; leave it out, or choose --schedule steps",
        "warmup": schedule == "onecycle" and "--schedule onecycle; leave it out, or choose cosine or steps",
        "momentum": optimizer != "sgd" and f"--optimizer {optimizer}; leave it out, or choose --optimizer sgd",
    }
    for name, why in idle.items():
        if why and getattr(options, name):
            raise UsageError(f"--{name} has no effect with {why}")


def _refuse_unknown(settings: TrainSettings, recipe: Recipe) -> None:
    if settings.best_by is not None and settings.best_by not in NAMES:
        raise UsageError(f"--best-by {settings.best_by}: no such metric; {nearest(settings.best_by, list(NAMES))}")
    largest = recipe.resize.short or recipe.resize.long
    for side in settings.sides:
        if not 32 <= side <= largest:
            raise UsageError(f"--sides {side}: give lengths from 32 to {largest} px, that of the input in detection")


def _refuse_nothing_to_measure(settings: TrainSettings, val: Annotations) -> None:
    """Refuse to keep weights, or to end early, by a metric that would be no number on val."""
    if settings.best_by is None and not settings.patience:
        return
    metric, option = settings.best_by or USUAL, "--best-by" if settings.best_by else "--patience, which goes by"
    if metric not in numbers_of(val, NOTHING_FOUND, metric):
        remedy = "give a val with objects" if metric == USUAL else f"choose {USUAL}"
        raise UsageError(f"{option} {metric}: val ({len(val)} pictures) has no object to measure it on; {remedy}")


def _parts(recipe: Recipe, stored: TrainRun | None, *, arch: Arch, data: DataSet, ranks: Ranks) -> int:
    """Return in how few parts memory holds a batch."""
    if stored is not None:
        return stored.recipe.train_settings.accumulate
    rows = max(1, recipe.train_settings.batch_size // ranks.count)
    size = input_size(data.train, recipe.resize)
    config = ModelConfig(
        detector=recipe.detector,
        arch=arch.text,
        classes=data.train.classes,
        category_ids=data.train.category_ids,
        settings=recipe.detector_settings,
        resize=recipe.resize,
    )
    detector = build(config, seed=0)
    if recipe.device == "cuda":
        detector = detector.to(device=recipe.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return parts_by_trying(detector, recipe.train_settings, size=size, rows=rows)
    return parts_by_counting(arch, sum(p.numel() for p in detector.parameters()), size=size, rows=rows)


def _steps(
    options: TrainOptions,
    recipe: Recipe,
    *,
    stored: TrainRun | None,
    arch: Arch,
    data: DataSet,
    ranks: Ranks,
    talk: Talk,
) -> int:
    """Return for how many steps to train: as many as are asked for, or as epochs or hours have."""
    said = [f"--{name}" for name in ("steps", "epochs", "hours") if getattr(options, name) is not None]
    if len(said) > 1:
        raise UsageError(f"{' and '.join(said)} all say how long; give one of them")
    if options.steps is not None:
        return options.steps
    settings = recipe.train_settings
    if options.hours is None:
        return max(1, (options.epochs or DEFAULT_EPOCHS) * len(data.train) // settings.batch_size)
    if stored is not None:
        return stored.steps
    parts = settings.accumulate * ranks.count
    part = msgspec.structs.replace(settings, batch_size=settings.batch_size // parts)
    seconds = settings.accumulate * seconds_per_step(
        arch,
        msgspec.structs.replace(recipe, train_settings=part),
        Pictures(data.train, recipe.resize),
        threads=options.threads or torch.get_num_threads(),
    )
    steps = int(options.hours * 3600 * USABLE / seconds)
    if steps < 1:
        raise UsageError(f"--hours {options.hours:g} is too short: a step takes {seconds:.3g} s here")
    talk.say(
        f"a step takes {seconds:.3f} s here: {steps} steps, {steps * settings.batch_size / len(data.train):.3g} epochs"
    )
    return steps
