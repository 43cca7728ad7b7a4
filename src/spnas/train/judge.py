"""Evaluations on the way of a training: when, by what, and which weights are kept."""

from collections.abc import Callable
from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from spnas.errors import IntegrityError
from spnas.runs.files import faults_named, write_atomic
from spnas.train.average import Average
from spnas.train.log import MetricsLog, best_of
from spnas.train.optimizer import training_mode
from spnas.train.settings import TrainSettings

USUAL = "ap"  # what patience goes by when the last weights are kept


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """`evaluate` gives the metrics of a detector after each number of steps in `at`; the best are in `folder`."""

    at: frozenset[int]
    evaluate: Callable[[nn.Module], dict[str, float]]
    folder: Path


def judge_averages(
    detector: nn.Module, average: Average, judge: Judge, log: MetricsLog, *, settings: TrainSettings, step: int
) -> None:
    """Evaluate the averaged weights, note the metrics, and keep the weights if there were no better ones."""
    present = {name: value.clone() for name, value in detector.state_dict().items()}
    average.give(detector)
    detector.eval()
    log.judged(step, judge.evaluate(detector))
    detector.load_state_dict(present)
    training_mode(detector, settings)
    best = best_of(log.lines, settings.best_by) if settings.best_by else None
    if best is not None and best.step == step:
        kept = average.values or detector.state_dict()
        with faults_named(judge.folder):
            judge.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(_kept(judge, step), save({n: v.cpu().contiguous() for n, v in kept.items()}))


def forget_others(judge: Judge, log: MetricsLog, settings: TrainSettings) -> None:
    """Remove weights that others have beaten; to be called when a checkpoint is written that knows of them."""
    best = best_of(log.lines, settings.best_by) if settings.best_by else None
    for path in judge.folder.glob("best-*.safetensors"):
        if best is not None and path != _kept(judge, best.step):
            path.unlink()


def put_best(detector: nn.Module, judge: Judge, log: MetricsLog, by: str) -> None:
    """Put the best weights into `detector`. Raises: IntegrityError when they are not there any more."""
    best = best_of(log.lines, by)
    if best is None:
        return
    path = _kept(judge, best.step)
    try:
        detector.load_state_dict(load(path.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as fault:
        raise IntegrityError(f"{path}: the best weights are missing or damaged ({fault}); train anew") from None


def out_of_patience(log: MetricsLog, settings: TrainSettings) -> bool:
    """Tell whether so many evaluations as are allowed have brought nothing better."""
    best = best_of(log.lines, settings.best_by or USUAL)
    if best is None or not settings.patience:
        return False
    return sum(line.step > best.step for line in log.lines if line.val) >= settings.patience


def _kept(judge: Judge, step: int) -> Path:
    return judge.folder / f"best-{step:07d}.safetensors"
