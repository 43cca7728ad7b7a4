"""`spnas train`: what it can be told is in `spnas.train.options`, for the command and for files alike."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from spnas.cli.options import Json, Quiet, print_result, talk
from spnas.data.choice import DataChoice
from spnas.train.options import OPTIONS, Option, options_of
from spnas.train.options_file import read_options

_PLAIN = (int, float, str, bool)  # the others are written as text


def _offered(option: Option) -> inspect.Parameter:
    """Return one option as typer takes it; None stands for not given."""
    kind = option.kind if option.kind in _PLAIN else str
    name = option.name.replace("_", "-")
    flags = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
    default = f" (default: {option.default})" if option.default and kind is not bool else ""
    said = typer.Option(flags, help=f"{option.meta.description}{default}", show_default=False)
    return inspect.Parameter(
        option.field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, said]
    )


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` an option for each of `TrainOptions`, which come to it as one mapping."""
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
    kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    names = {option.field: option.name for option in OPTIONS.values()}

    def with_options(**given: Any) -> None:
        command(**{p.name: given.pop(p.name) for p in own}, given={names[field]: v for field, v in given.items()})

    with_options.__signature__ = inspect.Signature([*kept, *map(_offered, OPTIONS.values())])  # type: ignore[attr-defined]
    with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
    return with_options


@_with_options
def train(
    arch: Annotated[str, typer.Argument(help="A published name, a notation or a code; see 'spnas list archs'.")],
    data: DataChoice,
    given: dict[str, Any],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; runs/train-DATA-ID if not given.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file of options; what the command line says wins.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a detector around one backbone; run the same command again to go on after an interruption."""
    values, places = read_options(config) if config is not None else ({}, {})
    said = {name: value for name, value in given.items() if value is not None}
    options = options_of(values | said, source={name: place for name, place in places.items() if name not in said})
    from spnas import tasks
    from spnas.tasks.train import describe

    result = tasks.train(arch, data=data, out=out, options=options, talk=talk(quiet))
    if os.environ.get("RANK", "0") == "0":  # the others, if torchrun started any, have the same to say
        print_result(result, describe, json=json)
