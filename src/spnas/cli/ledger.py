"""`spnas ledger`: the record of a study."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from spnas.errors import UsageError

ledger = typer.Typer(no_args_is_help=True, help="Look into the record of a study.")


@ledger.command()
def dump(run: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Print the canonical record of a study: the same for the same settings, data and seed, whatever happened."""
    from spnas.runs.folder import RunFolder

    folder = RunFolder(run)
    if not folder.begun:
        raise UsageError(f"{run}: no study there; give the folder that 'spnas search' named")
    with folder.open_ledger(read_only=True) as opened:
        sys.stdout.write(opened.dump())
