"""`spnas classify`: a backbone trained as a classifier on image folders, and judged on them."""

import time
from pathlib import Path

import msgspec
import numpy as np
import torch

from spnas.arch import Arch
from spnas.arch.published import arch_of
from spnas.assess import ParentWeights
from spnas.config import data_name
from spnas.data.choice import DataChoice, choice_of
from spnas.data.folders import open_folders
from spnas.data.labelled import Labelled, LabelledSet
from spnas.data.squares import Squares, eval_squares, squares_of
from spnas.errors import DataError, UsageError, escape
from spnas.reignite import EVAL_BATCH, reignite
from spnas.runs.files import faults_named, sha256, write_atomic
from spnas.runs.folder import RunFolder, model_in
from spnas.talk import Part, Talk, duration
from spnas.tasks.resume import begin_or_go_on, refuse_undecodable, stored_settings
from spnas.tasks.source import findings_of
from spnas.train.classifier_file import load_classifier, write_classifier_bundle
from spnas.train.classify import CLASSIFY, judge
from spnas.train.described import WEIGHTS
from spnas.train.loop import Diverged
from spnas.train.settings import TrainSettings
from spnas.train.weights import load_model

DEFAULT_EPOCHS = 30
SIDES = (32, 1024)
LARGEST_SIDE = {"cpu": 96, "cuda": 224}  # unless asked for


class ClassifyRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training of a classifier is, once and for all; `weights_from` is the SHA-256 of a detector's file."""

    data: DataChoice
    fingerprint: str
    arch: str
    weights_from: str | None
    side: int
    train_settings: TrainSettings
    steps: int
    seed: int


class ClassifyResult(msgspec.Struct, frozen=True, kw_only=True):
    """Where the classifier lies and which errors it makes on val, as shares in 0..1.

    most_frequent_error: what always naming the most frequent class of val would err.
    """

    folder: str
    model: str
    arch: str
    classes: tuple[str, ...]
    pictures: int
    side: int
    steps: int
    metrics: dict[str, float]
    most_frequent_error: float
    seconds: float


class ClassifyScores(msgspec.Struct, frozen=True, kw_only=True):
    """Errors of a classifier on the val of a data set, as shares in 0..1."""

    model: str
    classes: tuple[str, ...]
    pictures: int
    side: int
    metrics: dict[str, float]
    most_frequent_error: float


def classify_train(
    arch: str,
    *,
    data: str | Path | DataChoice,
    weights_from: str | Path | None = None,
    out: str | Path | None = None,
    steps: int | None = None,
    image_size: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    talk: Talk | None = None,
) -> ClassifyResult:
    """Train `arch` as a classifier and judge it on val; the same call goes on with a training that was interrupted.

    weights_from: a detector of ours to start from, whose backbone may have another stem.

    Raises: UsageError, DataError, StudyInUseError, ResourceError, IntegrityError.
    """
    talk = talk or Talk(quiet=True)
    parsed, choice, device = arch_of(arch), choice_of(data), "cuda" if torch.cuda.is_available() else "cpu"
    settings = _settings(batch_size, device)
    if steps is not None and steps < 1:
        raise UsageError(f"--steps {steps}: give at least 1")
    parent = _parent(Path(weights_from), parsed) if weights_from is not None else None
    opened = _open(choice, talk)
    side = _side(image_size, opened.train, device)
    run = ClassifyRun(
        data=choice,
        fingerprint=opened.fingerprint,
        arch=parsed.text,
        weights_from=parent.sha256 if parent else None,
        side=side,
        train_settings=settings,
        steps=steps or max(1, DEFAULT_EPOCHS * len(opened.train) // settings.batch_size),
        seed=seed,
    )
    folder = RunFolder(out or Path("runs") / f"classify-{data_name(choice)}-{parsed.id}")
    refuse_undecodable(folder, choice)
    with folder.lock():
        begin_or_go_on(folder, run, stored_settings(folder, ClassifyRun))
        if not (folder.best / "manifest.json").exists():
            _train(folder, run, opened, parent, device, talk)
        _, config = load_classifier(folder.best)
        seconds = msgspec.json.decode((folder.root / "result.json").read_bytes(), type=dict[str, float])["seconds"]
    return ClassifyResult(
        folder=str(folder.root),
        model=str(folder.best),
        arch=parsed.text,
        classes=config.classes,
        pictures=len(opened.val),
        side=side,
        steps=run.steps,
        metrics=config.metrics,
        most_frequent_error=_most_frequent_error(opened.val),
        seconds=seconds,
    )


def classify_evaluate(model: str | Path, *, data: str | Path | DataChoice, talk: Talk | None = None) -> ClassifyScores:
    """Judge a classifier on the val of an image-folder data set.

    Raises: UsageError, DataError, IntegrityError.
    """
    talk = talk or Talk(quiet=True)
    classifier, config = load_classifier(model_in(Path(model)))
    judged = _open(choice_of(data), talk).val
    if judged.classes != config.classes:
        raise DataError(
            escape(str(judged.root)),
            "",
            "classes-differ",
            f"data has {_listed(judged.classes)}, model {escape(str(model))} has {_listed(config.classes)}",
            "evaluate on the data the model was trained for, or train a model for these",
        )
    classifier.to("cuda" if torch.cuda.is_available() else "cpu")
    metrics = judge(classifier, eval_squares(Squares(judged, config.side, cache_bytes=0), batch_size=EVAL_BATCH))
    return ClassifyScores(
        model=str(model),
        classes=config.classes,
        pictures=len(judged),
        side=config.side,
        metrics=metrics,
        most_frequent_error=_most_frequent_error(judged),
    )


def _settings(batch_size: int | None, device: str) -> TrainSettings:
    settings = msgspec.structs.replace(CLASSIFY, precision="bf16" if device == "cuda" else "fp32")
    if batch_size is None:
        return settings
    if batch_size < 2:
        raise UsageError(f"--batch-size {batch_size}: give at least 2; norms need pictures to compare")
    return msgspec.structs.replace(settings, batch_size=batch_size)


def _parent(path: Path, arch: Arch) -> ParentWeights:
    """Return the file of the detector at `path`, once all of it is known to be whole and to suit `arch`."""
    path = model_in(path)
    _, config = load_model(path)
    theirs = arch_of(config.arch)
    if msgspec.structs.replace(theirs, stem=arch.stem) != arch:
        raise UsageError(f"--from {path}: its backbone is {theirs.text!r}, not {arch.text!r}; only the stem may differ")
    file = path / WEIGHTS if path.is_dir() else path
    return ParentWeights(file, sha256(file))


def _open(choice: DataChoice, talk: Talk) -> LabelledSet:
    """Open image folders and say what is in them."""
    if choice.path is None:
        raise UsageError("classify needs pictures in folders of their classes; name the folder with --data")
    if choice.format is not None:
        raise UsageError(f"--format {choice.format!r}: classify reads image folders only; leave it out")
    opened = open_folders(
        Path(choice.path),
        train=choice.train,
        val=choice.val,
        max_bad=choice.max_bad,
        allow_outside=Path(choice.allow_outside) if choice.allow_outside else None,
        allow_overlap=choice.allow_overlap,
    )
    for part in (opened.train, opened.val):
        talk.say(f"{part.name}: {len(part)} pictures of {len(part.classes)} classes")
    for line in (*findings_of(opened.reports), *opened.notes):
        talk.say(line)
    return opened


def _side(asked: int | None, pictures: Labelled, device: str) -> int:
    """Return the side of the squares: as asked, else as most pictures have it, within what the device can do."""
    low, high = SIDES
    if asked is not None:
        if not low <= asked <= high:
            raise UsageError(f"--image-size {asked}: give the side of a square in pixels, {low} to {high}")
        return asked
    usual = int(np.median(pictures.sizes.min(axis=1)))
    return max(low, min(LARGEST_SIDE[device], usual // 32 * 32))


def _train(
    folder: RunFolder, run: ClassifyRun, opened: LabelledSet, parent: ParentWeights | None, device: str, talk: Talk
) -> None:
    began = time.monotonic()
    seen: list[tuple[int, float]] = []  # the first step that was told, and when

    def show(step: int, terms: dict[str, float]) -> None:
        now = time.monotonic()
        if not seen:
            seen.append((step, now))
        since, at = seen[0]
        left = f"about {duration((now - at) / (step - since) * (run.steps - step))} left" if step > since else "begun"
        talk.show([Part(f"loss {sum(terms.values()):.3f}, {left}", step, run.steps)])

    checkpoint = folder.checkpoint(0) / "training.safetensors"
    with faults_named(checkpoint):
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    try:
        with talk.progress():
            reignite(
                arch_of(run.arch),
                weights_from=parent,
                data=squares_of(opened, run.side),
                steps=run.steps,
                settings=run.train_settings,
                seed=run.seed,
                weights=folder.weights(0),
                checkpoint=checkpoint,
                on_step=show,
                device=device,
            )
    except Diverged as fault:
        raise UsageError(str(fault)) from None
    write_atomic(folder.root / "result.json", msgspec.json.encode({"seconds": time.monotonic() - began}))
    classifier, config = load_classifier(folder.weights(0))
    folder.publish_best(lambda into: write_classifier_bundle(into, classifier, config))


def _most_frequent_error(pictures: Labelled) -> float:
    return 1 - float(pictures.counts.max()) / len(pictures)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(escape(n) for n in names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _told(result: ClassifyResult | ClassifyScores) -> str:
    """Return the errors in per cent, as they are printed elsewhere."""
    names = {"top1_error": "top-1 error", "top5_error": "top-5 error"}
    values = [f"{names[key]} {100 * value:.1f} %" for key, value in result.metrics.items()]
    return (
        ", ".join(values) + f" on {result.pictures} val pictures of {len(result.classes)} classes at {result.side} px"
    )


def describe(result: ClassifyResult) -> list[str]:
    """Return what a person reads at the end of a training."""
    return [
        f"{result.arch}: {_told(result)} after {result.steps} steps in {duration(result.seconds)}",
        f"always naming the most frequent class errs in {100 * result.most_frequent_error:.1f} %",
        f"model: {result.model}",
        f"next: spnas classify evaluate {result.model} --data FOLDER",
    ]


def describe_scores(result: ClassifyScores) -> list[str]:
    """Return what a person reads after judging."""
    return [
        f"{result.model}: {_told(result)}",
        f"always naming the most frequent class errs in {100 * result.most_frequent_error:.1f} %",
    ]
