"""What options of several commands are called, and how results are printed."""

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from spnas.data.choice import DataChoice
from spnas.errors import escape, utf8
from spnas.talk import Talk

ImageSize = Annotated[int | None, typer.Option("--image-size", help="Longer side of the network's input, in pixels.")]
RecipeName = Annotated[
    str | None,
    typer.Option("--recipe", help="small (CPUs, small pictures) or standard (800x1333; the default with a GPU)."),
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help="Pictures a step.")]
Seed = Annotated[int, typer.Option("--seed", help="Everything random hangs on it.")]
Detector = Annotated[str, typer.Option("--detector", help="See 'spnas list detectors'.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing on stderr but errors.")]

GENERATED = "Folder or annotation file; generated shapes if not given."
_Argument = Annotated[Path | None, typer.Argument(metavar="[DATA]", help=GENERATED)]
_READING = {
    "format": (Annotated[str | None, typer.Option("--format", help="Data format; recognised if not given.")], None),
    "train": (Annotated[str | None, typer.Option("--train", help="Name of the split to learn from.")], None),
    "val": (Annotated[str | None, typer.Option("--val", help="Name of the split to judge on.")], None),
    "max_bad": (
        Annotated[float, typer.Option("--max-bad", min=0, max=1, help="Share of records that may be quarantined.")],
        0.01,
    ),
    "allow_outside": (
        Annotated[
            Path | None,
            typer.Option("--allow-outside", help="Another folder in which pictures may lie."),
        ],
        None,
    ),
    "allow_overlap": (
        Annotated[bool, typer.Option("--allow-overlap", help="Let train and val share pictures.")],
        False,
    ),
}


def reads_data(
    command: Callable[..., None], *, argument: bool = False, path_help: str = GENERATED
) -> Callable[..., None]:
    """Give `command` the options that say where data are and how they are read, instead of its parameter `data`, in
    which it gets them all as a `DataChoice`; with `argument`, the path is no option but the first argument."""
    path_option = Annotated[Path | None, typer.Option("--data", help=path_help)]
    own = inspect.signature(command, eval_str=True).parameters
    options: dict[str, tuple[Any, Any]] = {"data": (_Argument if argument else path_option, None), **_READING}
    parameters: list[inspect.Parameter] = []
    for parameter in own.values():
        taken = options if parameter.name == "data" else {parameter.name: (parameter.annotation, parameter.default)}
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in taken.items()
        ]

    @wraps(command)
    def with_options(**given: Any) -> None:
        reading = {name: given.pop(name) for name in options}
        path, outside = reading.pop("data"), reading.pop("allow_outside")
        choice = DataChoice(path=_text(path), allow_outside=_text(outside), **reading)
        command(**given, data=choice)

    del with_options.__wrapped__
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer looks at
    return with_options


def talk(quiet: bool) -> Talk:
    """Return who speaks on stderr."""
    return Talk(quiet=quiet)


def print_result(result: Any, describe: Callable[[Any], list[str]], *, json: bool) -> None:
    """Print a result on stdout: as JSON, or as `describe` puts it."""
    if json:
        sys.stdout.write(
            msgspec.json.format(msgspec.json.encode(_in_utf8(msgspec.to_builtins(result))), indent=2).decode() + "\n"
        )
    else:
        for line in describe(result):
            sys.stdout.write(escape(line) + "\n")


def _in_utf8(value: Any) -> Any:
    if isinstance(value, dict):
        return {_in_utf8(key): _in_utf8(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_utf8(item) for item in value]
    return utf8(value) if isinstance(value, str) else value


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
