"""Evaluations on the way: what is kept, when a training ends, and a log that does not show an interruption."""

import copy
import csv
import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from spnas.data.batches import Batch
from spnas.errors import IntegrityError, UsageError
from spnas.train.judge import Judge, put_best
from spnas.train.log import Line, MetricsLog, best_of, read_log
from spnas.train.loop import TrainKey, train
from spnas.train.settings import TrainSettings

SETTINGS = TrainSettings(batch_size=4, evaluate_epochs=1)
KEY = TrainKey(0, 0, "a")
AT = frozenset({3, 6, 9, 12})


class Course:
    """Gives the metrics in `values` one after the other, by the number of steps that the log knows of."""

    def __init__(self, values: dict[int, float]) -> None:
        self.values = values
        self.seen: dict[int, dict[str, torch.Tensor]] = {}
        self.log: MetricsLog | None = None

    def __call__(self, detector: nn.Module) -> dict[str, float]:
        assert self.log is not None
        assert not detector.training
        step = self.log.lines[-1].step
        self.seen[step] = copy.deepcopy(detector.state_dict())
        return {"ap": self.values[step]}


def run(
    folder: Path,
    detector: nn.Module,
    batch_of: Callable[[int], Batch],
    course: Course,
    settings: TrainSettings,
    *,
    every_step: bool = True,
) -> nn.Module:
    folder.mkdir(exist_ok=True)
    net = copy.deepcopy(detector)
    course.log = MetricsLog(folder, epoch_steps=3.0, metrics=("ap",))
    train(
        net,
        batch_of,
        settings,
        steps=12,
        key=KEY,
        checkpoint=folder / "checkpoint" / "training.safetensors",
        log=course.log,
        judge=Judge(at=AT, evaluate=course, folder=folder / "checkpoint"),
        checkpoint_seconds=0.0 if every_step else 1e9,
    )
    return net


def steps_of(folder: Path) -> list[int]:
    return [line.step for line in read_log(folder) if line.val]


def same(net: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def untimed(folder: Path) -> tuple[list[Line], list[list[str]]]:
    lines = [msgspec.structs.replace(line, seconds=0.0) for line in read_log(folder)]
    return lines, [row[:-1] for row in csv.reader(io.StringIO((folder / "metrics.csv").read_text()))]


@pytest.fixture
def interrupted(batch_of: Callable[[int], Batch]) -> Callable[[int], Callable[[int], Batch]]:
    def make(at: int) -> Callable[[int], Batch]:
        def batch(step: int) -> Batch:
            if step == at:
                raise KeyboardInterrupt
            return batch_of(step)

        return batch

    return make


def test_looking_at_a_net_changes_nothing(
    detector: nn.Module, batch_of: Callable[[int], Batch], tmp_path: Path
) -> None:
    plain = copy.deepcopy(detector)
    train(plain, batch_of, SETTINGS, steps=12, key=KEY)
    judged = run(tmp_path, detector, batch_of, Course(dict.fromkeys(AT, 0.1)), SETTINGS)
    assert same(judged, plain.state_dict())


def test_the_best_weights_are_kept_the_first_of_equals(
    detector: nn.Module, batch_of: Callable[[int], Batch], tmp_path: Path
) -> None:
    course = Course({3: 0.1, 6: 0.3, 9: 0.3, 12: 0.2})
    best = run(tmp_path, detector, batch_of, course, msgspec.structs.replace(SETTINGS, best_by="ap"))
    assert same(best, course.seen[6])
    assert [p.name for p in (tmp_path / "checkpoint").glob("best*")] == ["best-0000006.safetensors"]
    last = run(tmp_path / "last", detector, batch_of, course, SETTINGS)
    assert same(last, course.seen[12])


def test_patience_ends_a_training_and_an_ended_one_stays_ended(
    detector: nn.Module, batch_of: Callable[[int], Batch], tmp_path: Path
) -> None:
    course = Course({3: 0.3, 6: 0.2, 9: 0.3, 12: 0.9})
    settings = msgspec.structs.replace(SETTINGS, best_by="ap", patience=2)
    first = run(tmp_path, detector, batch_of, course, settings)
    assert steps_of(tmp_path) == [3, 6, 9]
    assert same(first, course.seen[3])
    again = run(tmp_path, detector, batch_of, course, settings)
    assert steps_of(tmp_path) == [3, 6, 9]
    assert same(again, first.state_dict())


@pytest.mark.parametrize(("at", "every_step"), [(1, False), (3, True), (5, False), (8, True), (11, False)])
def test_an_interruption_does_not_show(
    detector: nn.Module,
    batch_of: Callable[[int], Batch],
    interrupted: Callable[[int], Callable[[int], Batch]],
    tmp_path: Path,
    at: int,
    every_step: bool,
) -> None:
    """Not in the weights, nor in the log: what was written after the checkpoint is taken back."""
    settings = msgspec.structs.replace(SETTINGS, best_by="ap", patience=3)
    values = {3: 0.1, 6: 0.3, 9: 0.2, 12: 0.25}
    whole = run(tmp_path / "whole", detector, batch_of, Course(values), settings)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", detector, interrupted(at), Course(values), settings, every_step=every_step)
    ended = run(tmp_path / "cut", detector, batch_of, Course(values), settings)
    assert same(ended, whole.state_dict())
    assert untimed(tmp_path / "cut") == untimed(tmp_path / "whole")


def test_lost_best_weights_are_named(detector: nn.Module, tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, epoch_steps=1.0)
    log.begin(0)
    log.judged(3, {"ap": 0.5})
    judge = Judge(at=AT, evaluate=lambda _: {}, folder=tmp_path)
    with pytest.raises(IntegrityError, match=r"best-0000003\.safetensors: the best weights are missing"):
        put_best(detector, judge, log, "ap")


def test_a_table_and_lines_say_the_same(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, epoch_steps=4.0, metrics=("ap", "ap50"), seconds=100.0)
    log.begin(0)
    log.trained(2, rate=0.1, terms={"class": 0.5, "offsets": 0.25})
    log.judged(4, {"ap": 0.5, "ap of cat": 0.4})
    rows = list(csv.DictReader(io.StringIO((tmp_path / "metrics.csv").read_text())))
    assert [*rows[0]] == ["step", "epoch", "rate", "loss", "class", "offsets", "ap", "ap50", "seconds"]
    assert [(r["step"], r["epoch"], r["loss"], r["class"], r["ap"]) for r in rows] == [
        ("2", "0.5", "0.75", "0.5", ""),
        ("4", "1.0", "", "", "0.5"),
    ]
    assert [line.step for line in read_log(tmp_path)] == [2, 4]
    assert all(100 <= line.seconds < 160 for line in read_log(tmp_path))


@pytest.mark.parametrize("left", [0, 1, 20, 100])
def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path, left: int) -> None:
    log = MetricsLog(tmp_path, epoch_steps=1.0)
    log.begin(0)
    for step in (1, 2):
        log.trained(step, rate=0.1, terms={"class": 0.5})
    data = (tmp_path / "metrics.jsonl").read_bytes()
    lines = data.splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_bytes(lines[0] + lines[1][: min(left, len(lines[1]) - 2)])
    assert [line.step for line in read_log(tmp_path)] == [1]
    again = MetricsLog(tmp_path, epoch_steps=1.0)
    again.begin(1)
    again.trained(2, rate=0.1, terms={"class": 0.5})
    assert untimed(tmp_path)[0] == [msgspec.structs.replace(line, seconds=0.0) for line in log.lines]


def test_the_best_is_by_the_metric_that_was_asked_for() -> None:
    lines = [Line(step=i, epoch=1, val={"ap": a, "ap50": b}) for i, (a, b) in enumerate([(0.1, 0.4), (0.2, 0.3)])]
    assert (best_of(lines, "ap"), best_of(lines, "ap50"), best_of([], "ap")) == (lines[1], lines[0], None)
    assert best_of(lines, "ap_large") is None


def test_tensorboard_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'spnas\[tensorboard\]'"):
        MetricsLog(tmp_path, epoch_steps=1.0, tensorboard=True)


def test_tensorboard_gets_what_the_log_gets(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra is not installed")
    log = MetricsLog(tmp_path, epoch_steps=1.0, tensorboard=True)
    log.begin(0)
    log.trained(1, rate=0.1, terms={"class": 0.5})
    log.judged(1, {"ap": 0.5})
    log.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert set(found.Tags()["scalars"]) == {"loss", "rate", "class", "val/ap"}
