"""The shelf of benchmarks, one a file: `score(annotations, found) -> Scores`, with the protocol in its docstring."""

import msgspec


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluator says: `values` in 0..1 with NaN where there is no ground truth; per class as well."""

    protocol: str
    main: str
    values: dict[str, float]
    per_class: dict[str, float]
