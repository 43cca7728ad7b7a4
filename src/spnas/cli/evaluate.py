"""`spnas evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from spnas.cli.options import Json, Quiet, print_result, talk
from spnas.data.choice import DataChoice


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            help="A folder such as runs/NAME/best, a .safetensors file of ours, or detections made elsewhere: "
            "COCO results or BDD100K frames (.json), or a folder of EuroCity Persons files."
        ),
    ],
    data: DataChoice,
    metric: Annotated[str, typer.Option("--metric", help="Names from 'spnas list metrics', comma between.")] = "coco",
    results: Annotated[Path | None, typer.Option("--results", help="Write detections there, as COCO results.")] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Whether pictures are there; detections can do without.")
    ] = True,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a model, or detections made elsewhere, on the val pictures of a data set."""
    from spnas import tasks
    from spnas.tasks.evaluate import describe

    result = tasks.evaluate(
        model,
        data=data,
        metric=tuple(name.strip() for name in metric.split(",")),
        results=results,
        pictures=pictures,
        talk=talk(quiet),
    )
    print_result(result, describe, json=json)
