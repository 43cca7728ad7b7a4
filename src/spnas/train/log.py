"""What a training says of itself, kept in its folder: metrics.jsonl, and the same as a table in metrics.csv.

After an interruption both are cut back to the step that the training goes on from, so that they read as if there had
been none; only `seconds`, the last field of a line, tells.
"""

import csv
import importlib
import io
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from spnas.errors import UsageError
from spnas.runs.files import faults_named, write_atomic

LINES, TABLE = "metrics.jsonl", "metrics.csv"
SHARED = ("step", "epoch", "rate", "loss")


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line: the loss and its terms at a step, or what an evaluation after it gave.

    epoch: passes over the pictures so far. rate: the learning rate. seconds: of all sittings up to here.
    """

    step: int
    epoch: float
    rate: float | None = None
    loss: float | None = None
    terms: dict[str, float] = {}
    val: dict[str, float] = {}
    seconds: float = 0.0


class MetricsLog:
    """The open log of a training whose epochs take `epoch_steps` steps.

    metrics: columns of the table that evaluations fill; the lines have all that was measured.
    seconds: spent in earlier sittings.
    """

    def __init__(
        self,
        folder: Path,
        *,
        epoch_steps: float,
        metrics: Sequence[str] = (),
        seconds: float = 0.0,
        tensorboard: bool = False,
    ) -> None:
        self.folder, self.epoch_steps, self.metrics = folder, epoch_steps, tuple(metrics)
        self.lines: list[Line] = []
        self._began = time.monotonic() - seconds
        self._writer_of = _board() if tensorboard else None
        self._board: Any = None

    @property
    def seconds(self) -> float:
        """Return the seconds of all sittings up to now."""
        return time.monotonic() - self._began

    def begin(self, step: int) -> None:
        """Read what there is, and forget what was written after `step`."""
        self.lines = [line for line in read_log(self.folder) if line.step <= step]
        write_atomic(self.folder / LINES, b"".join(msgspec.json.encode(line) + b"\n" for line in self.lines))
        rows = [_row(self._header()), *(_row(self._cells(line)) for line in self.lines)] if self.lines else []
        write_atomic(self.folder / TABLE, "".join(rows).encode())
        if self._writer_of is not None:
            self._board = self._writer_of(str(self.folder / "tensorboard"), purge_step=step + 1)

    def trained(self, step: int, *, rate: float, terms: dict[str, float]) -> None:
        """Note the loss of the step that is the `step`-th."""
        self._write(Line(step=step, epoch=self._epoch(step), rate=rate, loss=sum(terms.values()), terms=terms))

    def judged(self, step: int, val: dict[str, float]) -> None:
        """Note what an evaluation after `step` steps gave."""
        self._write(Line(step=step, epoch=self._epoch(step), val=val))

    def sync(self) -> None:
        """Make sure that what was written outlives a power cut; to be called before a checkpoint is written."""
        for name in (LINES, TABLE):
            with faults_named(self.folder / name), (self.folder / name).open("rb") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Finish what TensorBoard has not written yet."""
        if self._board is not None:
            self._board.close()

    def _epoch(self, step: int) -> float:
        return round(step / self.epoch_steps, 4)

    def _write(self, line: Line) -> None:
        line = msgspec.structs.replace(line, seconds=round(self.seconds, 3))
        first = not self.lines
        self.lines.append(line)
        _append(self.folder / LINES, msgspec.json.encode(line) + b"\n")
        _append(self.folder / TABLE, ((_row(self._header()) if first else "") + _row(self._cells(line))).encode())
        if self._board is not None:
            values = {"loss": line.loss, "rate": line.rate} | line.terms | {f"val/{k}": v for k, v in line.val.items()}
            for name, value in values.items():
                if value is not None:
                    self._board.add_scalar(name, value, line.step)

    def _header(self) -> list[str]:
        terms = next((list(line.terms) for line in self.lines if line.terms), [])
        return [*SHARED, *terms, *self.metrics, "seconds"]

    def _cells(self, line: Line) -> list[Any]:
        known = {"step": line.step, "epoch": line.epoch, "rate": line.rate, "loss": line.loss, "seconds": line.seconds}
        return [known.get(name, line.terms.get(name, line.val.get(name))) for name in self._header()]


def read_log(folder: Path) -> list[Line]:
    """Return the lines of the log in `folder`, up to one that a crash cut off."""
    lines: list[Line] = []
    if not (folder / LINES).exists():
        return lines
    for text in (folder / LINES).read_bytes().splitlines():
        try:
            lines.append(msgspec.json.decode(text, type=Line))
        except msgspec.DecodeError:
            break
    return lines


def best_of(lines: Sequence[Line], by: str) -> Line | None:
    """Return the evaluation with the highest value of the metric `by`, the first of equals; None where none has it."""
    judged = [line for line in lines if by in line.val]
    return max(judged, key=lambda line: line.val[by], default=None)


def _append(path: Path, data: bytes) -> None:
    with faults_named(path), path.open("ab") as file:
        file.write(data)


def _row(cells: Sequence[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(["" if cell is None else cell for cell in cells])
    return out.getvalue()


def _board() -> Callable[..., Any]:
    """Return what makes a writer for TensorBoard."""
    try:
        importlib.import_module("tensorboard")
    except ImportError:
        raise UsageError("--tensorboard needs an extra: pip install 'spnas[tensorboard]'") from None
    return cast(Callable[..., Any], importlib.import_module("torch.utils.tensorboard").SummaryWriter)
