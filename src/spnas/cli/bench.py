"""`spnas bench`."""

from typing import Annotated

import typer

from spnas.cli.options import BatchSize, Json, Quiet, RecipeName, print_result, talk
from spnas.data.choice import DataChoice


def bench(
    data: DataChoice,
    arch: Annotated[
        list[str] | None,
        typer.Option("--arch", help="Names or codes, comma between; for notations, --arch more than once."),
    ] = None,
    detector: Annotated[
        str, typer.Option("--detector", help="From 'spnas list detectors', comma between.")
    ] = "faster_rcnn",
    image_size: Annotated[
        str | None, typer.Option("--image-size", help="320 for the longer side, 800x1333 for both; comma between.")
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="fp32, bf16; comma between.")] = "fp32",
    device: Annotated[str | None, typer.Option("--device", help="cpu or cuda; a GPU where there is one.")] = None,
    batch_size: BatchSize = None,
    what: Annotated[str, typer.Option("--what", help="inference, training or both.")] = "both",
    recipe: RecipeName = None,
    network_only: Annotated[
        bool, typer.Option("--network-only", help="Leave decoding and resizing of pictures out.")
    ] = False,
    seconds: Annotated[float, typer.Option("--seconds", help="How long each is measured, beyond five passes.")] = 10.0,
    paper: Annotated[bool, typer.Option("--paper", help="The rows of the paper's table 1, with its fps.")] = False,
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Whether peak memory is measured; on CPUs in a new process.")
    ] = True,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how fast detectors are on this machine, and what memory they take."""
    from spnas import tasks
    from spnas.tasks.bench import describe

    result = tasks.bench(
        arch=[name for given in arch or [] for name in _names(given)],
        detector=_names(detector),
        image_size=_names(image_size or ""),
        precision=_names(precision),
        device=device,
        batch_size=batch_size,
        what=what,
        recipe=recipe,
        network_only=network_only,
        seconds=seconds,
        paper=paper,
        memory=memory,
        data=data if data.path is not None else None,
        talk=talk(quiet),
    )
    print_result(result, describe, json=json)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
