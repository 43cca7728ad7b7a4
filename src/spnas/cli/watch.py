"""`spnas watch`."""

import contextlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spnas.cli.options import Json, print_result

if TYPE_CHECKING:
    from spnas.tasks.watch import Watched


def watch(
    run: Annotated[Path, typer.Argument(help="Folder of a search.")],
    once: Annotated[
        bool, typer.Option("--once", help="Print it once, as it is when the output is no terminal.")
    ] = False,
    json: Json = False,
) -> None:
    """Watch a search that runs, was stopped or is finished: from its files, which it leaves alone. Ctrl-C to leave."""
    from spnas import tasks
    from spnas.tasks.scene import lines_of

    if json or once or not sys.stdout.isatty():
        width = shutil.get_terminal_size((160, 50)).columns
        print_result(tasks.watch(run), lambda seen: lines_of(seen, width=width), json=json)
        return
    last: Watched | None = None
    with contextlib.suppress(KeyboardInterrupt):
        last = _live(run)
    if last is not None:
        print_result(last, lambda seen: lines_of(seen, width=shutil.get_terminal_size().columns), json=False)


def _live(run: Path) -> "Watched":
    """Show the study on a screen of its own until it is finished; return it as it is then."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from spnas import tasks
    from spnas.tasks.scene import lines_of

    console = Console(highlight=False)
    with Live(Text("reading ..."), console=console, screen=True, auto_refresh=False) as live:

        def show(seen: "Watched") -> None:
            lines = lines_of(seen, width=console.width, height=console.height - 1)
            live.update(Text("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True)

        return tasks.watch(run, show=show)
