"""`spnas train`: one detector around one backbone, on a user's data, by one process or by those of `torchrun`."""

import contextlib
import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
from torch import nn

from spnas.arch.published import arch_of
from spnas.assess import EVAL_BATCH, threads
from spnas.config import data_name
from spnas.data.batches import Batch, Pictures, eval_batches, train_batch
from spnas.data.choice import DataChoice, choice_of
from spnas.data.records import DataSet
from spnas.data.transforms import MILD
from spnas.errors import USER_FAULTS, UsageError
from spnas.evaluate.detect import detect
from spnas.evaluate.metrics.coco import NAMES, score
from spnas.nets.backbone import Backbone
from spnas.runs.files import write_atomic
from spnas.runs.folder import RunFolder
from spnas.talk import Part, Talk, duration
from spnas.tasks.resume import begin_or_go_on, refuse_undecodable, stored_settings
from spnas.tasks.source import open_for
from spnas.tasks.start import begin
from spnas.tasks.train_run import TrainRun, device_here, settle
from spnas.train.judge import Judge
from spnas.train.log import MetricsLog, best_of, read_log
from spnas.train.loop import Diverged, TrainKey
from spnas.train.loop import train as train_detector
from spnas.train.options import OPTIONS, TrainOptions, options_of
from spnas.train.ranks import Ranks, gathered, tell
from spnas.train.settings import TrainSettings
from spnas.train.weights import ModelConfig, load_model, write_bundle
from spnas.train.why import NOTHING, why_nothing

AHEAD = 2  # batches that are made in advance, where threads read pictures


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model lies and what it reached on val; `causes` says why, where it has learned nothing."""

    folder: str
    model: str
    arch: str
    steps: int
    metrics: dict[str, float]
    seconds: float
    causes: tuple[str, ...] = ()


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What `result.json` keeps: the seconds of all sittings so far, and why nothing was learned."""

    seconds: float = 0.0
    causes: tuple[str, ...] = ()


def train(
    arch: str,
    *,
    data: str | Path | DataChoice | None = None,
    out: str | Path | None = None,
    options: TrainOptions | None = None,
    talk: Talk | None = None,
    **given: Any,
) -> TrainResult:
    """Train `arch` and judge it on val; the same call goes on with a training that was interrupted.

    given: options by name, such as `steps=600`, in place of those of `options`.

    Raises: UsageError, DataError, StudyInUseError, ResourceError, IntegrityError.
    """
    options = _merged(options or TrainOptions(), given)
    parsed = arch_of(arch)
    choice = choice_of(data)
    folder = RunFolder(out or Path("runs") / f"train-{data_name(choice)}-{parsed.id}")
    refuse_undecodable(folder, choice, **{"from": options.start})
    with gathered(device_here()) as ranks, contextlib.ExitStack() as kept:
        talk = talk if talk is not None and ranks.first else Talk(quiet=True)
        opened = open_for(choice, talk)
        compose = partial(settle, options, arch=parsed, choice=choice, data=opened, ranks=ranks, talk=talk)
        run = _agree(folder, compose, ranks, kept)
        if not _done(folder, ranks):
            _train(folder, run, opened, options, ranks=ranks, talk=talk)
        tell(b"published", ranks)
        _, config = load_model(folder.best)
        ended, lines = _ended(folder), read_log(folder.root)
    return TrainResult(
        folder=str(folder.root),
        model=str(folder.best),
        arch=parsed.text,
        steps=lines[-1].step if lines else run.steps,
        metrics=config.metrics,
        seconds=ended.seconds,
        causes=ended.causes,
    )


def _merged(options: TrainOptions, given: dict[str, Any]) -> TrainOptions:
    """Return `options` with what is `given` in place of theirs. Raises: UsageError for values that cannot be meant."""
    names = {option.field: name for name, option in OPTIONS.items()}
    said = {name: getattr(options, field) for field, name in names.items()}
    return options_of(said | {names.get(field, field): value for field, value in given.items()})


def _agree(
    folder: RunFolder, compose: Callable[[TrainRun | None], TrainRun], ranks: Ranks, kept: contextlib.ExitStack
) -> TrainRun:
    """Return what the first process settles, on all of them, and have it begun or gone on with.

    kept: what the folder's lock is held in from then on.
    """
    words: bytes | None = None
    try:
        if ranks.first:
            kept.enter_context(folder.lock())
            stored = stored_settings(folder, TrainRun)
            run = compose(stored)
            begin_or_go_on(folder, run, stored)
            words = msgspec.json.encode(run)
    except USER_FAULTS:
        tell(None, ranks)
        raise
    return msgspec.json.decode(tell(words, ranks), type=TrainRun)


def _done(folder: RunFolder, ranks: Ranks) -> bool:
    return tell(b"done" if (folder.best / "manifest.json").exists() else b"", ranks) == b"done"


def _train(folder: RunFolder, run: TrainRun, data: DataSet, options: TrainOptions, *, ranks: Ranks, talk: Talk) -> None:
    """Train, judge, and put the model into its place; all but the training is the first process's work."""
    if options.threads:
        threads(options.threads)
    recipe, settings = run.recipe, run.recipe.train_settings
    detector, config, source = begin(_config(run, data), run.start, seed=run.seed)
    talk.say(f"starts from {source}")
    _refuse_still_blocks(cast(Backbone, detector.backbone), settings)
    if run.start is None and (settings.norm == "frozen" or settings.frozen_stages >= 0):
        talk.say("note: what is frozen stays as fresh as it is; freeze what --from brings")
    detector.to(recipe.device)
    learn = Pictures(data.train, recipe.resize, threads=options.loader_workers)
    epoch_steps = len(data.train) / settings.batch_size
    log = _log(folder, epoch_steps, options) if ranks.first else None
    judge = Judge(
        at=_judged_at(run, epoch_steps),
        evaluate=partial(_metrics, pictures=Pictures(data.val, recipe.resize)),
        folder=folder.checkpoint(0),
    )
    try:
        with talk.progress():
            train_detector(
                detector,
                partial(_batch, learn, run, ranks),
                settings,
                steps=run.steps,
                key=TrainKey(run.seed, 0, f"0:{arch_of(run.arch).id}:{run.steps}"),
                checkpoint=folder.checkpoint(0) / "training.safetensors",
                on_step=_Shower(log, run.steps, talk) if log is not None else None,
                ranks=ranks,
                ahead=AHEAD if options.loader_workers else 0,
                log=log,
                judge=judge,
                checkpoint_seconds=options.checkpoint_seconds,
            )
    except Diverged as fault:
        raise UsageError(str(fault)) from None
    finally:
        learn.close()
        if log is not None:
            log.close()
            _write_ended(folder, Ended(seconds=log.seconds))
    if log is not None:
        _finish(folder, run, data, detector=detector, config=config, log=log)


def _finish(
    folder: RunFolder, run: TrainRun, data: DataSet, *, detector: nn.Module, config: ModelConfig, log: MetricsLog
) -> None:
    """Say what was reached, and if it is nothing, why; then publish the model."""
    settings = run.recipe.train_settings
    judged = best_of(log.lines, settings.best_by) if settings.best_by else log.lines[-1]
    metrics = judged.val if judged else {}
    if metrics.get("ap", 0.0) < NOTHING:
        causes = why_nothing(
            data.train,
            data.val,
            log.lines,
            steps=log.lines[-1].step,
            settings=settings,
            detector=run.recipe.detector_settings,
            resize=run.recipe.resize,
        )
        _write_ended(folder, Ended(seconds=log.seconds, causes=tuple(causes)))
    config = msgspec.structs.replace(config, metrics=metrics)
    folder.publish_best(lambda into: write_bundle(into, detector, config))
    shutil.rmtree(folder.checkpoint(0), ignore_errors=True)  # the model is in place


def _config(run: TrainRun, data: DataSet) -> ModelConfig:
    return ModelConfig(
        detector=run.recipe.detector,
        arch=run.arch,
        classes=data.train.classes,
        category_ids=data.train.category_ids,
        settings=run.recipe.detector_settings,
        resize=run.recipe.resize,
    )


def _batch(pictures: Pictures, run: TrainRun, ranks: Ranks, step: int) -> Batch:
    settings = run.recipe.train_settings
    return train_batch(
        pictures,
        batch_size=settings.batch_size,
        step=step,
        seed=run.seed,
        augment=MILD if settings.augment else None,
        sides=settings.sides,
        part=(ranks.rank, ranks.count),
    )


def _metrics(detector: nn.Module, *, pictures: Pictures) -> dict[str, float]:
    """Return COCO's numbers on val, and AP by class, as far as there is anything to be found."""
    scores = score(pictures.annotations, detect(detector, eval_batches(pictures, batch_size=EVAL_BATCH)))
    metrics = {name: value for name, value in scores.values.items() if value == value}
    return metrics | {f"ap of {name}": value for name, value in scores.per_class.items() if value == value}


def _refuse_still_blocks(backbone: Backbone, settings: TrainSettings) -> None:
    """Refuse blocks that began as the identity, for want of weights, and could never be anything else."""
    still = [b for b in backbone.blocks() if not cast(nn.Module, b.last_norm).weight.any()]  # type: ignore[operator]
    if settings.norm == "frozen" and still:
        raise UsageError(
            f"--norm frozen: {len(still)} of {backbone.arch.block_count} blocks begin as the identity, since --from "
            "has no weights for them, and with frozen norms they would stay so; give --norm batch, or sync"
        )


def _judged_at(run: TrainRun, epoch_steps: float) -> frozenset[int]:
    """Return after how many steps val is looked at: at the end, and where an epoch ends whose turn it is."""
    every = run.recipe.train_settings.evaluate_epochs * epoch_steps
    count = int(run.steps / every) if every else 0
    return frozenset({run.steps, *(min(run.steps, math.ceil(n * every)) for n in range(1, count + 1))})


def _log(folder: RunFolder, epoch_steps: float, options: TrainOptions) -> MetricsLog:
    """Open the log; its clock goes on from the seconds of earlier sittings, of what a crash undid as well."""
    seconds = max([_ended(folder).seconds, *(line.seconds for line in read_log(folder.root)[-1:])])
    _write_ended(folder, Ended(seconds=seconds))
    return MetricsLog(
        folder.root, epoch_steps=epoch_steps, metrics=NAMES, seconds=seconds, tensorboard=options.tensorboard
    )


def _ended(folder: RunFolder) -> Ended:
    try:
        return msgspec.json.decode((folder.root / "result.json").read_bytes(), type=Ended)
    except (OSError, msgspec.DecodeError):
        return Ended()


def _write_ended(folder: RunFolder, ended: Ended) -> None:
    write_atomic(folder.root / "result.json", msgspec.json.encode(ended))


class _Shower:
    """Shows how far a training is; the time left is told from the pace of this sitting."""

    def __init__(self, log: MetricsLog, steps: int, talk: Talk) -> None:
        self._log, self._steps, self._talk = log, steps, talk
        self._first: tuple[int, float] | None = None

    def __call__(self, step: int, terms: dict[str, float]) -> None:
        seconds = self._log.seconds
        began, then = self._first = self._first or (step, seconds)
        left = ""
        if step > began:
            left = f", about {duration((seconds - then) / (step - began) * (self._steps - step))} left"
        self._talk.show([Part(f"loss {sum(terms.values()):.3f}{left}", step, self._steps)])


def describe(result: TrainResult) -> list[str]:
    """Return what a person reads at the end of a training."""
    ap, ap50 = result.metrics.get("ap", 0.0), result.metrics.get("ap50", 0.0)
    return [
        f"{result.arch}: AP {ap:.3f}, AP50 {ap50:.3f} on val after {result.steps} steps in {duration(result.seconds)}",
        *([f"almost nothing was learned: {cause}" for cause in result.causes]),
        f"model: {result.model}",
        f"next: spnas predict PICTURES --model {result.model}",
    ]
