"""`spnas list` and `spnas show`: what has a name."""

from typing import Annotated

import typer

from spnas.cli.options import Json, print_result
from spnas.errors import UsageError


def list_(
    kind: Annotated[
        str,
        typer.Argument(
            help="archs, blocks, detectors, executors, formats, metrics, objectives, parts, phases, presets, recipes"
        ),
    ] = "archs",
    json: Json = False,
) -> None:
    """List what can be named on the command line."""
    from typing import get_args

    from spnas import tasks
    from spnas.shelf import nearest
    from spnas.tasks.catalogue import Kind, describe

    kinds = list(get_args(Kind))
    if kind not in kinds:
        raise UsageError(f"nothing of kind {kind!r} can be listed; {nearest(kind, kinds)}")
    print_result(tasks.catalogue(kind), describe, json=json)  # type: ignore[arg-type]  # checked above


def show(
    arch: Annotated[str, typer.Argument(help="A published name, a notation or a code; see 'spnas list archs'.")],
    json: Json = False,
) -> None:
    """Show an architecture stage by stage: its blocks, what they cost, and what papers print of it."""
    from spnas import tasks
    from spnas.tasks.show import describe

    print_result(tasks.show(arch), describe, json=json)
