"""Search a detection backbone for your own data and budget (SP-NAS), and learn honestly whether it paid.

`from spnas import tasks` gives the verbs of the command as functions; `spnas.load` a trained detector that looks at
pictures; `spnas.create_model`, `warm_start`, `save_pretrained`, `from_pretrained` and `push_to_hub` are for code that
trains its own detectors.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spnas.hub import from_pretrained, push_to_hub, save_pretrained
    from spnas.models import create_model, warm_start
    from spnas.predict import Detections, Model, load

_HOMES = {
    "Detections": "spnas.predict",
    "Model": "spnas.predict",
    "load": "spnas.predict",
    "create_model": "spnas.models",
    "warm_start": "spnas.models",
    "from_pretrained": "spnas.hub",
    "push_to_hub": "spnas.hub",
    "save_pretrained": "spnas.hub",
}
__all__ = [
    "Detections",
    "Model",
    "create_model",
    "from_pretrained",
    "load",
    "push_to_hub",
    "save_pretrained",
    "warm_start",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for and no more: torch takes seconds, and `spnas --help` should not."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
