"""`spnas export`: what leaves the house."""

from pathlib import Path
from typing import Annotated

import typer

from spnas.cli.options import Json, print_result

export = typer.Typer(no_args_is_help=True, help="Take a net out of here, in a form that others read.")


@export.command()
def backbone(
    source: Annotated[str, typer.Argument(help="A model's folder or file, or an architecture.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the module and its weights.")],
    json: Json = False,
) -> None:
    """Write a backbone as one Python file that needs torch only, and a safetensors file; both are checked first."""
    from spnas import tasks
    from spnas.tasks.export import describe

    print_result(tasks.export_backbone(source, out=out), describe, json=json)
