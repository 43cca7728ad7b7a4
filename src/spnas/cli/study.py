"""`spnas study`: is a study sound, and can it be mended."""

from pathlib import Path
from typing import Annotated

import typer

from spnas.cli.options import Json, print_result
from spnas.errors import IntegrityError

study = typer.Typer(no_args_is_help=True, help="See whether a study is sound, and mend it.")

Run = Annotated[Path, typer.Argument(help="Folder of a study.")]


@study.command()
def verify(run: Run, json: Json = False) -> None:
    """Read every file of a study and name what is damaged or missing, a line each; nothing is changed."""
    from spnas.tasks.study import describe_verified
    from spnas.tasks.study import verify as look

    found = look(run)
    print_result(found, describe_verified, json=json)
    if found.problems:
        raise typer.Exit(IntegrityError.exit_code)


@study.command()
def repair(run: Run, json: Json = False) -> None:
    """Put aside what is damaged, so that the same search command goes on and does it again; nothing is deleted."""
    from spnas.tasks.study import describe_repaired
    from spnas.tasks.study import repair as mend

    result = mend(run)
    print_result(result, describe_repaired, json=json)
    if result.left:
        raise typer.Exit(IntegrityError.exit_code)
