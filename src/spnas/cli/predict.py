"""`spnas predict`."""

from pathlib import Path
from typing import Annotated

import typer

from spnas.cli.options import Json, Quiet, print_result, talk
from spnas.data.choice import DataChoice
from spnas.errors import UsageError


def predict(
    model: Annotated[
        Path,
        typer.Option(
            "--model", help="Folder of a study or training, or of its best, or a .safetensors or ONNX file of ours."
        ),
    ],
    data: DataChoice,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Picture files, or folders of them; else the val pictures of --data.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for drawn pictures and results.json.")] = Path(
        "predictions"
    ),
    score: Annotated[float, typer.Option("--score", min=0, max=1, help="Draw detections from this score on.")] = 0.5,
    tile: Annotated[
        int | None,
        typer.Option("--tile", help="Look at larger pictures also in tiles of this side, for small objects."),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option("--overlap", help="Pixels by which tiles overlap; a fourth if not given.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find objects in pictures: drawn pictures, and COCO results with the original ids."""
    from spnas import tasks
    from spnas.tasks.predict import describe

    if overlap is not None and tile is None:
        raise UsageError("--overlap is that of tiles; give --tile too")
    result = tasks.predict(
        images or [],
        model=model,
        data=data if data.path is not None else None,
        out=out,
        score=score,
        tile=tile if tile is None or overlap is None else (tile, overlap),
        talk=talk(quiet),
    )
    print_result(result, describe, json=json)
