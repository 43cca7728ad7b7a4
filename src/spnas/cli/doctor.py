"""`spnas doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from spnas.cli.options import Json, Quiet, print_result, talk
from spnas.data.choice import DataChoice
from spnas.errors import UsageError


def doctor(
    data: DataChoice,
    decode: Annotated[bool, typer.Option(help="Decode every picture whole.")] = True,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page about the data there.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Examine a data set: what is in it, and what is wrong with it. Exits with 2 if training would stop at it."""
    from spnas import tasks
    from spnas.tasks.doctor import describe

    diagnosis = tasks.doctor(
        data,
        decode=decode,
        html=html,
        talk=talk(quiet),
    )
    print_result(diagnosis, describe, json=json)
    if diagnosis.refused:
        raise typer.Exit(UsageError.exit_code)
