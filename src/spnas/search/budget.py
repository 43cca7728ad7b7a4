"""What a backbone may cost."""

import re

import msgspec

from spnas.errors import UsageError

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(GMACs?|MMACs?|[MK]?\s?params?)", re.IGNORECASE)


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Upper bounds of a backbone: multiply-accumulates (1e9, at the search's input size) and parameters."""

    gmacs: float | None = None
    params: int | None = None

    def exceeded(self, gmacs: float, params: int) -> bool:
        """Whether a net of this cost is over the budget."""
        return (self.gmacs is not None and gmacs > self.gmacs) or (self.params is not None and params > self.params)

    def __str__(self) -> str:
        parts = [f"{self.gmacs:.4g} GMAC"] if self.gmacs is not None else []
        return ", ".join(parts + ([f"{self.params / 1e6:.4g}M params"] if self.params is not None else []))


def parse_budget(text: str) -> Budget:
    """Read `6GMAC`, `300MMAC` or `2.5Mparams`. Raises: UsageError for anything else."""
    match = _AMOUNT.fullmatch(text.strip())
    if not match or float(match[1]) == 0:
        raise UsageError(f"budget {text!r}: write it as 6GMAC, 300MMAC or 2.5Mparams")
    amount, unit = float(match[1]), match[2].upper().replace(" ", "")
    if unit.startswith("GMAC"):
        return Budget(gmacs=amount)
    if unit.startswith("MMAC"):
        return Budget(gmacs=amount / 1000)
    return Budget(params=round(amount * {"M": 1e6, "K": 1e3}.get(unit[0], 1)))
