"""`spnas search`."""

from typing import Annotated

import typer

from spnas.cli.options import BatchSize, ImageSize, Json, Out, Quiet, RecipeName, Seed, print_result, talk
from spnas.data.choice import DataChoice
from spnas.errors import EXIT_BUDGET


def search(
    data: DataChoice,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="6GMAC, 2.5Mparams, 12ms or 300MiB for a picture at the input size."),
    ] = None,
    hours: Annotated[float | None, typer.Option("--hours", min=0, help="How long the whole may take.")] = None,
    candidates: Annotated[int | None, typer.Option("--candidates", min=1, help="How many nets to try.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Steps of a full training; by --hours if not given.")
    ] = None,
    root: Annotated[str | None, typer.Option("--root", help="Architecture to start from.")] = None,
    out: Out = None,
    image_size: ImageSize = None,
    recipe: RecipeName = None,
    batch_size: BatchSize = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Seeds of the finals.")] = None,
    seed: Seed = 0,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; one per core by default.")] = None,
    executor: Annotated[str, typer.Option("--executor", help="inline or process.")] = "process",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search a backbone; run the same command again to go on after an interruption."""
    from spnas import tasks
    from spnas.tasks.search import describe

    result = tasks.search(
        data,
        budget=budget,
        hours=hours,
        candidates=candidates,
        steps=steps,
        root=root,
        out=out,
        image_size=image_size,
        recipe=recipe,
        batch_size=batch_size,
        seeds=seeds,
        seed=seed,
        workers=workers,
        executor=executor,
        talk=talk(quiet),
    )
    print_result(result, describe, json=json)
    if result.verdict is None:
        raise typer.Exit(EXIT_BUDGET)
