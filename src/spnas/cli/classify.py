"""`spnas classify`: backbones as classifiers, on pictures in folders of their classes."""

from pathlib import Path
from typing import Annotated

import typer

from spnas.cli.options import BatchSize, Json, Quiet, Seed, print_result, talk
from spnas.data.choice import DataChoice

classify = typer.Typer(
    no_args_is_help=True, help="Train a backbone as a classifier, to start detectors from, and judge it."
)

Data = Annotated[
    Path, typer.Option("--data", help="Image folders: DATA/train/CLASS/*.jpg beside DATA/val, or DATA/CLASS/*.jpg.")
]
TrainFolder = Annotated[str | None, typer.Option("--train", help="Folder below DATA to learn from.")]
ValFolder = Annotated[str | None, typer.Option("--val", help="Folder below DATA to judge on.")]
MaxBad = Annotated[float, typer.Option("--max-bad", min=0, max=1, help="Share of pictures that may be quarantined.")]
Outside = Annotated[Path | None, typer.Option("--allow-outside", help="Another folder into which links may lead.")]
Overlap = Annotated[bool, typer.Option("--allow-overlap", help="Let train and val share pictures.")]


def _choice(
    data: Path, train: str | None, val: str | None, max_bad: float, outside: Path | None, overlap: bool
) -> DataChoice:
    return DataChoice(
        path=str(data),
        train=train,
        val=val,
        max_bad=max_bad,
        allow_outside=None if outside is None else str(outside),
        allow_overlap=overlap,
    )


@classify.command()
def train(
    arch: Annotated[str, typer.Argument(help="A published name, a notation or a code; see 'spnas list archs'.")],
    data: Data,
    weights_from: Annotated[
        Path | None, typer.Option("--from", help="A detector of ours to start from; its stem may be another one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; runs/classify-DATA-ID if not given.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="30 epochs if not given.")] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Side of the network's input, a square, in pixels.")
    ] = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    train: TrainFolder = None,
    val: ValFolder = None,
    max_bad: MaxBad = 0.01,
    allow_outside: Outside = None,
    allow_overlap: Overlap = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a backbone as a classifier; run the same command again to go on after an interruption."""
    from spnas.tasks.classify import classify_train, describe

    result = classify_train(
        arch,
        data=_choice(data, train, val, max_bad, allow_outside, allow_overlap),
        weights_from=weights_from,
        out=out,
        steps=steps,
        image_size=image_size,
        batch_size=batch_size,
        seed=seed,
        talk=talk(quiet),
    )
    print_result(result, describe, json=json)


@classify.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A folder such as runs/classify-NAME/best, or its .safetensors file.")],
    data: Data,
    train: TrainFolder = None,
    val: ValFolder = None,
    max_bad: MaxBad = 0.01,
    allow_outside: Outside = None,
    allow_overlap: Overlap = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a classifier on the val pictures of image folders; --val test judges on another part."""
    from spnas.tasks.classify import classify_evaluate, describe_scores

    choice = _choice(data, train, val, max_bad, allow_outside, allow_overlap)
    print_result(classify_evaluate(model, data=choice, talk=talk(quiet)), describe_scores, json=json)
