"""`spnas export`: what leaves the house."""

from pathlib import Path
from typing import Annotated

import typer

from spnas.cli.options import Json, Quiet, print_result, talk
from spnas.data.choice import DataChoice


def export(
    source: Annotated[str, typer.Argument(help="A model's folder or file; with --to backbone also an architecture.")],
    out: Annotated[Path, typer.Option("--out", help="File that ends in .onnx, or a folder for the other forms.")],
    data: DataChoice,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="onnx: a detector for onnxruntime; module: one as a Python file that needs torch and torchvision "
            "only; backbone: that of one, for torch only.",
        ),
    ] = "onnx",
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Longer side of pictures in ONNX, if not as in training.")
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", help="Of ONNX: fp32, or fp16 and int8, which are judged by their AP.")
    ] = "fp32",
    max_ap_loss: Annotated[
        float | None,
        typer.Option("--max-ap-loss", min=0, max=1, help="AP that fp16 or int8 may lose; .005 and .02 if not given."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a model in a form that others read, once it was found to do what the model does."""
    from spnas import tasks
    from spnas.tasks.export import describe

    result = tasks.export(
        source,
        to=to,
        out=out,
        data=data,
        image_size=image_size,
        precision=precision,
        max_ap_loss=max_ap_loss,
        talk=talk(quiet),
    )
    print_result(result, describe, json=json)
