"""What a search looks for: a metric, against a cost."""

from typing import Literal

import msgspec

from spnas.errors import UsageError
from spnas.shelf import nearest

Against = Literal["gmacs", "params", "milliseconds", "mib"]
COSTS: dict[str, Against] = {"gmacs": "gmacs", "params": "params", "ms": "milliseconds", "mib": "mib"}
# name: whether more is better, and the worst value that counts, where hypervolume begins
METRICS: dict[str, tuple[bool, float]] = {
    "ap": (True, 0.0),
    "ap50": (True, 0.0),
    "ap75": (True, 0.0),
    "ap_small": (True, 0.0),
    "ap_medium": (True, 0.0),
    "ap_large": (True, 0.0),
    "lamr": (False, 1.0),
    "loss": (False, 10.0),
}
BEYOND = 2.0  # hypervolume ends at the bound of the cost, or where there is none, at so many times the root's


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of `METRICS` and the cost it is weighed against; the budget bounds costs besides.

    reference: the cost at which hypervolume ends, in the units of `Spent`; fixed when a study begins.
    """

    metric: str = "ap"
    against: Against = "gmacs"
    reference: float = 1.0

    def value(self, metrics: dict[str, float]) -> float | None:
        """Return how good an outcome is, more being better, from 0 on; None where the metric is not there."""
        more, worst = METRICS[self.metric]
        found = metrics.get(self.metric)
        return None if found is None else found - worst if more else worst - found

    def __str__(self) -> str:
        more, worst = METRICS[self.metric]
        return (
            f"{'more' if more else 'less'} {self.metric} for less {self.against}; hypervolume from {self.metric} "
            f"{worst:g} and {self.against} {self.reference:.4g}"
        )


def check_metric(name: str) -> str:
    """Return `name`. Raises: UsageError when a search cannot look for it."""
    if name not in METRICS:
        raise UsageError(f"--objective {name!r}: {nearest(name, tuple(METRICS))}")
    return name


def check_against(name: str) -> Against:
    """Return the cost that `name` stands for. Raises: UsageError for an unknown one."""
    if name not in COSTS:
        raise UsageError(f"--against {name!r}: {nearest(name, tuple(COSTS))}")
    return COSTS[name]
