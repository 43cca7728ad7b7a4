"""What a backbone costs, and what it may cost."""

import re
from collections.abc import Callable

import msgspec

from spnas.arch import Arch
from spnas.errors import UsageError

BAND_LOW = 0.9  # a net that uses less than this of its budget wastes it
_UNITS = {  # as written: the bound it sets, and in how many of its units
    "GMAC": ("gmacs", 1.0),
    "MMAC": ("gmacs", 1e-3),
    "MPARAM": ("params", 1e6),
    "KPARAM": ("params", 1e3),
    "PARAM": ("params", 1.0),
    "MS": ("milliseconds", 1.0),
    "MIB": ("mib", 1.0),
    "GIB": ("mib", 1024.0),
}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(GMAC|MMAC|[MK]?\s?PARAM|MS|MIB|GIB)S?", re.IGNORECASE)
_EXAMPLES = "6GMAC, 300MMAC, 2.5Mparams, 12ms, 300MiB or 1.5GiB, or several with commas between"


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a backbone costs at the search's input size.

    milliseconds: of a forward pass of one picture. mib: of activations kept in training, for one picture. Both are
    None where nobody asked.
    """

    gmacs: float
    params: int
    milliseconds: float | None = None
    mib: float | None = None

    def __str__(self) -> str:
        return ", ".join(_written(self.gmacs, self.params, self.milliseconds, self.mib))


CostOf = Callable[[Arch], Spent]


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Upper bounds of what a backbone may cost, in the units of `Spent`; None is no bound."""

    gmacs: float | None = None
    params: int | None = None
    milliseconds: float | None = None
    mib: float | None = None

    def exceeded(self, spent: Spent) -> bool:
        """Whether a net that costs so much is over the budget."""
        return any(value > bound for value, bound in self._bounds(spent))

    def share(self, spent: Spent) -> float:
        """Return how much of the budget is used, by the bound that is nearest; 1 is all of it."""
        return max((value / bound for value, bound in self._bounds(spent)), default=0.0)

    def in_band(self, spent: Spent) -> bool:
        """Whether a net uses the budget well: at least 90 % of it, and no more than all."""
        return self.share(spent) >= BAND_LOW and not self.exceeded(spent)

    def _bounds(self, spent: Spent) -> list[tuple[float, float]]:
        """Pair what is spent with every bound there is. Raises: ValueError where a bound was not measured."""
        found: list[tuple[float, float]] = []
        for name in ("gmacs", "params", "milliseconds", "mib"):
            bound, value = getattr(self, name), getattr(spent, name)
            if bound is not None and value is None:
                raise ValueError(f"the budget bounds {name}, which was not measured")
            if bound is not None:
                found.append((value, bound))
        return found

    def __str__(self) -> str:
        return ", ".join(_written(self.gmacs, self.params, self.milliseconds, self.mib))


def parse_budget(text: str) -> Budget:
    """Read `6GMAC`, `2.5Mparams`, `12ms`, `1.5GiB`, or several, e.g. `6GMAC, 12ms`.

    Raises: UsageError for anything else, and when two amounts bound the same.
    """
    bounds: dict[str, float] = {}
    for part in text.split(","):
        match = _AMOUNT.fullmatch(part.strip())
        if not match or float(match[1]) == 0:
            raise UsageError(f"budget {text!r}: write it as {_EXAMPLES}")
        name, scale = _UNITS[re.sub(r"\s", "", match[2].upper())]
        if name in bounds:
            raise UsageError(f"budget {text!r} bounds {name} twice; give one amount of each kind")
        bounds[name] = float(match[1]) * scale
    params = bounds.pop("params", None)
    return Budget(**bounds, params=None if params is None else max(1, round(params)))


def _written(gmacs: float | None, params: float | None, milliseconds: float | None, mib: float | None) -> list[str]:
    """Write what there is, in units that people read; `parse_budget` reads it back."""
    parts = [f"{gmacs:.4g} GMAC"] if gmacs is not None else []
    parts += [f"{params / 1e6:.4g}M params"] if params is not None else []
    parts += [f"{milliseconds:.4g} ms"] if milliseconds is not None else []
    if mib is not None:
        parts.append(f"{mib / 1024:.4g} GiB" if mib >= 1024 else f"{mib:.4g} MiB")
    return parts
