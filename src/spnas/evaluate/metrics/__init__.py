"""The shelf of benchmarks, one a file: `score(annotations, found) -> Scores`, with the protocol in its docstring."""

from typing import Protocol

import msgspec

from spnas.data.records import Annotations
from spnas.evaluate.detect import Found


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """What lies behind a number: `y` over `x`, as many of one as of the other."""

    x: tuple[float, ...]
    y: tuple[float, ...]


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluator says: `values` in 0..1 with NaN where there is no ground truth; per class as well.

    lower_is_better: the values are rates of failure, such as ECP's miss rate.
    curves: by the name of the value they belong to; ECP's are miss rates over false positives per picture.
    """

    protocol: str
    main: str
    values: dict[str, float]
    per_class: dict[str, float]
    lower_is_better: bool = False
    curves: dict[str, Curve] = {}


class Metric(Protocol):
    """The contract of a module on this shelf."""

    def check(self, annotations: Annotations) -> None:
        """Do nothing when the data has what the protocol asks for.

        Raises: UsageError saying what it lacks.
        """
        ...

    def score(self, annotations: Annotations, found: Found) -> Scores:
        """Judge detections; a picture without any counts as empty."""
        ...
