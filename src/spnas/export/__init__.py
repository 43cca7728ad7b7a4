"""Nets that leave the house, each compared with what it was made from before it is handed over.

`backbone` writes one as a Python file; `graph` writes a detector as ONNX, `gate` compares it, and `session` runs it:
that one, and `description`, do without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spnas.export.backbone import Exported, convolutions, export_backbone

_HOMES = dict.fromkeys(("Exported", "convolutions", "export_backbone"), "spnas.export.backbone")
__all__ = ["Exported", "convolutions", "export_backbone"]


def __getattr__(name: str) -> Any:
    """Load what needs torch at its first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
