"""What a person is told while work goes on: lines and progress on stderr, live on a terminal, plain elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from spnas.errors import escape

SECONDS_BETWEEN_LINES = 20.0


class Part(NamedTuple):
    """Something under way: what it is, and how far along."""

    label: str
    done: float
    total: float


class Talk:
    """Says things; `quiet` says nothing but what is asked for at the end."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self.quiet = quiet
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Progress | None = None
        self._bars: list[TaskID] = []
        self._said = 0.0

    def say(self, line: str) -> None:
        """Print one line."""
        if not self.quiet:
            self.console.print(escape(line), markup=False)

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Keep a live display on a terminal as long as the block runs."""
        if self.quiet or not self.console.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        with Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True) as live:
            self._live, self._bars = live, []
            try:
                yield
            finally:
                self._live = None

    def show(self, parts: list[Part]) -> None:
        """Show how far things are; the first part is the whole."""
        if self._live is not None:
            while len(self._bars) < len(parts):
                self._bars.append(self._live.add_task("", total=1.0))
            for bar, part in zip(self._bars, parts, strict=False):
                self._live.update(
                    bar, description=escape(part.label), completed=part.done, total=part.total, visible=True
                )
            for bar in self._bars[len(parts) :]:
                self._live.update(bar, visible=False)
        elif time.monotonic() - self._said > SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self.say("; ".join(f"{p.label} {100 * p.done / max(p.total, 1):.0f} %" for p in parts))


def duration(seconds: float) -> str:
    """Write seconds as people say them: 42 s, 7 min, 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
