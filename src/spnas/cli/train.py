"""`spnas train`."""

from typing import Annotated

import typer

from spnas.cli.options import BatchSize, Detector, ImageSize, Json, Out, Quiet, RecipeName, Seed, print_result, talk
from spnas.data.choice import DataChoice


def train(
    arch: Annotated[str, typer.Argument(help="A published name, a notation or a code; see 'spnas list archs'.")],
    data: DataChoice,
    out: Out = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="36 epochs if not given.")] = None,
    image_size: ImageSize = None,
    recipe: RecipeName = None,
    batch_size: BatchSize = None,
    detector: Detector = "faster_rcnn",
    seed: Seed = 0,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="torch's threads; its default if not given.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a detector around one backbone, from scratch."""
    from spnas import tasks
    from spnas.tasks.train import describe

    result = tasks.train(
        arch,
        data=data,
        out=out,
        steps=steps,
        image_size=image_size,
        recipe=recipe,
        batch_size=batch_size,
        detector=detector,
        seed=seed,
        thread_count=threads,
        talk=talk(quiet),
    )
    print_result(result, describe, json=json)
