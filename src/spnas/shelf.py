"""A shelf is a package in which every module is one member, and the module's name is the name users type.

Adding a member is adding a file; nothing is registered, and nothing is imported before it is asked for.
"""

import difflib
import importlib
import pkgutil
from types import ModuleType

from spnas.errors import UsageError


def members(package: ModuleType) -> tuple[str, ...]:
    """Return the names on this shelf, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")))


def nearest(name: str, known: tuple[str, ...] | list[str]) -> str:
    """Return a sentence that helps someone who typed `name`: the nearest known name, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def take(package: ModuleType, name: str) -> ModuleType:
    """Import one member of the shelf.

    Raises: UsageError naming the nearest member when there is none of this name.
    """
    known = members(package)
    if name not in known:
        kind = package.__name__.rsplit(".", 1)[-1]
        raise UsageError(f"there is no {name!r} in {kind}; {nearest(name, known)}")
    return importlib.import_module(f"{package.__name__}.{name}")
