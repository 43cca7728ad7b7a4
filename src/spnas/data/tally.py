"""Count what is noticed in the data, and keep the first cases of each kind."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spnas.data.raw import Spot
from spnas.data.records import DataReport, Finding
from spnas.errors import DataError, escape

KEPT = 20

Outcome = Literal["quarantined", "noted"]
Refuse = Callable[[DataError], None]


def refuse(error: DataError) -> None:
    """Raise `error`: what everyone does but the doctor, who writes it down and goes on."""
    raise error


def record(report: DataReport, spot: Spot, *, outcome: Outcome, code: str, reason: str, hint: str) -> None:
    """Count one case, and keep it while it is among the first of its code."""
    before = report.counts.get(code, 0)
    report.counts[code] = before + 1
    if before < KEPT:
        report.findings.append(Finding(outcome, code, escape(spot.file), escape(spot.where), escape(reason), hint))


def record_rows(
    report: DataReport,
    rows: NDArray[np.int64],
    *,
    outcome: Outcome,
    code: str,
    spot: Callable[[int], Spot],
    reason: Callable[[int], str],
    hint: str,
) -> None:
    """Count many cases of one code at once; only those that are kept cost any time."""
    kept = max(0, min(len(rows), KEPT - report.counts.get(code, 0)))
    for row in rows[:kept]:
        record(report, spot(int(row)), outcome=outcome, code=code, reason=reason(int(row)), hint=hint)
    if len(rows) > kept:
        report.counts[code] = report.counts.get(code, 0) + len(rows) - kept
