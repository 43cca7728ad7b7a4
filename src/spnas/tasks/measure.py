"""A short measurement of what a search is made of, by as many processes at once as it will have here."""

import contextlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from spnas.arch import Arch, Candidate, Move
from spnas.assess import Materials, ParentWeights, measure, start, threads
from spnas.config import StudySettings
from spnas.data.batches import Batch, Pictures, train_batch
from spnas.data.open import open_choice
from spnas.data.squares import eval_squares
from spnas.data.transforms import MILD
from spnas.reignite import start as light
from spnas.runs.executors import process
from spnas.runs.folder import RunFolder
from spnas.train.classify import judge, train_classifier
from spnas.train.loop import TrainKey, train
from spnas.train.weights import save_model
from spnas.worker import materials_for, squares_for

SAMPLE = 48  # pictures that are learned from and judged, spread over the set
WARM_UP, LEAST, MOST = 2, 4, 60  # steps
SECONDS = 10.0  # of steps, for a net
EVAL_SQUARES, TENS = 64, 3


class Enough(Exception):
    """Enough steps were timed."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is told: to be there, to train `arch`, from the weights of `parent` by `moves` if there is one, or
    to train it as a classifier. seconds: after which it stops, if there were enough steps."""

    what: str
    arch: Arch | None = None
    moves: tuple[Move, ...] = ()
    parent: str | None = None
    weights: str | None = None
    sha256: str | None = None
    seconds: float = 0.0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a child answers, in seconds: steps one by one, beginning a training, judging one picture, reading one.

    peak_mib: the most memory so far. kept_mib: of that, pictures kept. picture_mib: of one, when it is kept.
    busy: processor time of the steps in units of their time. model_mib: the file of weights.
    """

    steps: tuple[float, ...] = ()
    begin: float = 0.0
    look: float = 0.0
    read: float = 0.0
    busy: float = 0.0
    peak_mib: float = 0.0
    kept_mib: float = 0.0
    picture_mib: float = 0.0
    model_mib: float = 0.0
    sha256: str | None = None

    @property
    def step(self) -> float:
        """A step: the mean, without the quarter that took longest."""
        return statistics.fmean(sorted(self.steps)[: max(1, len(self.steps) * 3 // 4)])


def make_measure(folder: str) -> Callable[[bytes], bytes]:
    """Return what a child of the measurement does, for the settings in `folder`."""
    run = RunFolder(folder)
    settings = msgspec.json.decode(run.settings(), type=StudySettings)
    threads(1)
    materials = materials_for(open_choice(settings.data), settings)
    few, judged = _sampled(materials.train), _sampled(materials.search_val)

    def work(job: bytes) -> bytes:
        ask = msgspec.json.decode(job, type=Ask)
        told = Told()
        if ask.what == "classify" and ask.arch is not None:
            told = _classify(ask, settings, materials)
        elif ask.arch is not None:
            told = _train(ask, settings, few, judged, run)
        return msgspec.json.encode(told)

    return work


def _sampled(pictures: Pictures) -> Pictures:
    count = min(SAMPLE, len(pictures))
    indices = np.unique(np.linspace(0, len(pictures) - 1, count).round().astype(np.int64))
    return Pictures(pictures.annotations.select(indices, name="sample"), pictures.resize)


def _train(ask: Ask, settings: StudySettings, few: Pictures, judged: Pictures, run: RunFolder) -> Told:
    """Train a net as a candidate of the study would be, but for a few steps, and judge it on a few pictures."""
    assert ask.arch is not None
    role = "root" if ask.parent is None else "child"
    candidate = Candidate(number=0, role=role, arch=ask.arch, steps=MOST, seed=0, moves=ask.moves)  # type: ignore[arg-type]
    parent = ParentWeights(run.root / ask.parent, ask.sha256 or "") if ask.parent else None
    began = time.perf_counter()
    sizes = [few.sample(i).pixels.nbytes for i in range(len(few))]
    read = (time.perf_counter() - began) / len(few)
    for i in range(len(judged)):
        judged.sample(i)
    began = time.perf_counter()
    detector, config = start(candidate, settings.recipe, few, parent)
    begin = time.perf_counter() - began
    train_settings = settings.recipe.train_settings

    def batch_of(step: int) -> Batch:
        augment = MILD if train_settings.augment else None
        return train_batch(few, batch_size=train_settings.batch_size, step=step, seed=0, augment=augment)

    marks, spent = list[float](), list[float]()
    with contextlib.suppress(Enough):
        train(
            detector,
            _timed(batch_of, marks, spent, seconds=ask.seconds),
            train_settings,
            steps=WARM_UP + MOST + 1,
            key=TrainKey(0, 0, "measure"),
        )
    detector.eval()
    began = time.perf_counter()
    measure(detector, judged, settings.search.objective.metric)
    look = (time.perf_counter() - began) / len(judged)
    model, digest = 0.0, None
    if ask.weights:
        began = time.perf_counter()
        digest = save_model(run.root / ask.weights, detector, config)
        begin += time.perf_counter() - began
        model = (run.root / ask.weights).stat().st_size / 2**20
    return Told(
        steps=tuple(b - a for a, b in pairwise(marks[WARM_UP:])),
        begin=begin,
        look=look,
        read=read,
        busy=(spent[-1] - spent[WARM_UP]) / max(1e-9, marks[-1] - marks[WARM_UP]),
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        kept_mib=2 * sum(sizes) / 2**20,
        picture_mib=statistics.fmean(sizes) / 2**20,
        model_mib=model,
        sha256=digest,
    )


def _timed(
    batch_of: Callable[[int], Batch], marks: list[float], spent: list[float], *, seconds: float
) -> Callable[[int], Batch]:
    """Return `batch_of`, which takes down when it is asked, and of how much processor time, until that is enough."""

    def asked(step: int) -> Batch:
        marks.append(time.perf_counter())
        spent.append(time.process_time())
        there = len(marks) - 1 - WARM_UP
        if there >= MOST or (there >= LEAST and marks[-1] - marks[WARM_UP] > seconds):
            raise Enough
        return batch_of(step)

    return asked


def _classify(ask: Ask, settings: StudySettings, materials: Materials) -> Told:
    """Train a backbone as a classifier for some steps, which are timed by tens, and judge it on a few pictures."""
    assert ask.arch is not None
    began = time.perf_counter()
    squares = squares_for(materials.train.annotations, settings)
    classifier = light(ask.arch, weights_from=None, classes=len(squares.classes), seed=0)
    classifier = classifier.to(settings.recipe.device)
    begin = time.perf_counter() - began
    marks = list[float]()

    def mark(_step: int, _terms: dict[str, float]) -> None:
        marks.append(time.perf_counter())
        if len(marks) > 1 and (len(marks) > TENS or marks[-1] - marks[0] > ask.seconds):
            raise Enough

    with contextlib.suppress(Enough):
        train_classifier(
            classifier,
            squares.train,
            settings.ignition.train_settings,
            steps=10 * (TENS + 1),
            key=TrainKey(0, 0, "measure"),
            on_step=mark,
        )
    began = time.perf_counter()
    batch = next(eval_squares(squares.val, batch_size=EVAL_SQUARES))
    judge(classifier, iter([batch]))
    look = (time.perf_counter() - began) / len(batch.index) * len(squares.val)
    return Told(steps=tuple((b - a) / 10 for a, b in pairwise(marks)), begin=begin, look=look)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: `alone` the root by one child, then the root and a larger net by all of them at once.

    processes: how many at once. startup: seconds until all children had opened the data. weight: GMACs of the larger
    net in units of the root's.
    """

    processes: int
    startup: float
    alone: Told
    roots: tuple[Told, ...]
    larger: tuple[Told, ...]
    weight: float
    classifier: Told | None = None


def measured(
    settings: StudySettings, larger: tuple[Arch, tuple[Move, ...]], *, weight: float, processes: int, classify: bool
) -> Measured:
    """Measure with so many processes, which takes a minute or so; everything is written to a folder of its own."""
    root = settings.search.root
    with tempfile.TemporaryDirectory(prefix="spnas-") as place:
        run = RunFolder(place)
        run.begin(msgspec.json.encode(settings))
        (run.root / "weights").mkdir()
        crew = process.open(make_measure, place, workers=processes)
        try:

            def ask(count: int, what: str, *, name: str = "", **more: Any) -> tuple[Told, ...]:
                asked = [Ask(what=what, weights=f"weights/{name}{i}" if name else None, **more) for i in range(count)]
                jobs = [crew.submit(msgspec.json.encode(one)) for one in asked]
                return tuple(msgspec.json.decode(job.result(), type=Told) for job in jobs)

            began = time.perf_counter()
            ask(processes, "be there")
            startup = time.perf_counter() - began
            alone = ask(1, "train", name="root", arch=root, seconds=SECONDS)[0]
            roots = ask(processes, "train", arch=root, seconds=SECONDS / 2) if processes > 1 else (alone,)
            begun = {"arch": larger[0], "moves": larger[1], "parent": "weights/root0", "sha256": alone.sha256}
            larger_ones = ask(processes, "train", name="larger", seconds=SECONDS, **begun)
            lit = ask(1, "classify", arch=root, seconds=SECONDS)[0] if classify else None
        except BaseException:
            crew.close(kill=True)
            raise
        crew.close()
    return Measured(
        processes=processes,
        startup=startup,
        alone=alone,
        roots=roots,
        larger=larger_ones,
        weight=weight,
        classifier=lit,
    )
