"""`spnas estimate`: the options of `spnas search` that say what is searched, and how much."""

import inspect
from typing import Any

from spnas.cli.options import print_result, talk
from spnas.cli.search import search, split

# where the study lies and who works on it; of that only the number of workers changes how long it takes
_NOT_ASKED = {"out", "executor", "ray_address", "gpus_per_worker", "memory_limit", "time_limit"}
_WISHES = {
    "hours": "hours",
    "candidates": "candidates",
    "copies": "copies",
    "steps": "steps",
    "reignite_steps": "ignite_steps",
    "seeds": "seeds",
    "stuck": "stuck",
}


def estimate(**options: Any) -> None:
    """Estimate hours, memory and disk of a search with these options, from a minute's measurement on this machine."""
    from spnas import tasks
    from spnas.config import Wishes
    from spnas.tasks.estimate import describe

    json, quiet = options.pop("json"), options.pop("quiet")
    wishes = Wishes(**{field: options.pop(name) for name, field in _WISHES.items()})
    phases = options.pop("phases")
    result = tasks.estimate(
        options.pop("data"),
        wishes=wishes,
        without=split(options.pop("without")),
        phases=split(phases) if phases is not None else None,
        talk=talk(quiet),
        **options,
    )
    print_result(result, describe, json=json)


_asked = inspect.signature(search, eval_str=True)
estimate.__signature__ = _asked.replace(  # type: ignore[attr-defined]  # what typer looks at
    parameters=[p for name, p in _asked.parameters.items() if name not in _NOT_ASKED]
)
estimate.__annotations__ = {name: p.annotation for name, p in _asked.parameters.items() if name not in _NOT_ASKED}
