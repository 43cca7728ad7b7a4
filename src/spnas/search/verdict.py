"""Did the search pay? Means over seeds, the interval of their difference, and a sentence that claims no more."""

import math
import statistics

import msgspec

from spnas.search.objective import METRICS

CONFIDENCE = 0.95
# two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom
T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
T_BEYOND = 2.08
LEARNED = 0.02  # AP below which a detector has not learned to detect


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Finalist against rival on val: AP per seed, difference of the means and its 95 % interval (None for one seed)."""

    finalist: int | None
    finalist_ap: tuple[float, ...]
    rival_ap: tuple[float, ...]
    difference: float
    half_width: float | None
    paid: bool | None
    sentence: str


def t_quantile(degrees: int) -> float:
    """Return the two-sided 95 % quantile; beyond the table its last value, which is on the safe side."""
    return T_QUANTILES[degrees - 1] if degrees <= len(T_QUANTILES) else T_BEYOND


class Sides(msgspec.Struct, frozen=True, kw_only=True):
    """What two sides of a verdict are called: what is asked whether it paid, its rival, and the rival's short name."""

    what: str = "search"
    against: str = "the equal-cost ResNet"
    rival: str = "ResNet"
    metric: str = "ap"


SEARCH = Sides()
COPIES = Sides(what="parallel phase", against="a serial net of equal cost", rival="serial net")


def judge(
    finalist: int | None,
    finalist_ap: list[float],
    rival_ap: list[float],
    others: list[list[float]],
    sides: Sides = SEARCH,
    *,
    best_ap: float | None = None,
) -> Verdict:
    """Compare finalist and rival; `others`, APs of further finalists over seeds, help to estimate the spread.

    best_ap: the mean AP of the better side, where what is compared is another metric: whether anything was learned.

    The spread over seeds is pooled over all nets that were trained in the final phase (Student's t interval).
    """
    difference = statistics.fmean(finalist_ap) - statistics.fmean(rival_ap)
    groups = [group for group in (finalist_ap, rival_ap, *others) if len(group) > 1]
    degrees = sum(len(group) - 1 for group in groups)
    half_width = None
    if degrees and len(finalist_ap) > 1 and len(rival_ap) > 1:
        variance = sum(statistics.variance(g) * (len(g) - 1) for g in groups) / degrees
        half_width = t_quantile(degrees) * math.sqrt(variance * (1 / len(finalist_ap) + 1 / len(rival_ap)))
    if best_ap is None:
        best_ap = max(statistics.fmean(finalist_ap), statistics.fmean(rival_ap))
    learned = best_ap >= LEARNED
    better = difference > 0 if METRICS[sides.metric][0] else difference < 0
    paid = None if half_width is None or abs(difference) <= half_width or not learned else better
    return Verdict(
        finalist=finalist,
        finalist_ap=tuple(finalist_ap),
        rival_ap=tuple(rival_ap),
        difference=difference,
        half_width=half_width,
        paid=paid,
        sentence=_sentence(
            statistics.fmean(finalist_ap), statistics.fmean(rival_ap), difference, half_width, paid, learned, sides
        ),
    )


def _sentence(
    ours: float,
    rival: float,
    difference: float,
    half_width: float | None,
    paid: bool | None,
    learned: bool,
    sides: Sides,
) -> str:
    name = sides.metric.upper().replace("_SMALL", "_S").replace("_MEDIUM", "_M").replace("_LARGE", "_L")
    numbers = f"{name} {ours:.3f} against {rival:.3f} of {sides.against}, difference {difference:+.3f}"
    if not learned:
        return f"Not known: neither net has learned to detect, {numbers}; train for longer (--steps, --hours)."
    if half_width is None:
        return f"Not known: {numbers}, from one seed on a side, which says nothing about the spread."
    numbers += f" (95 % interval {difference - half_width:+.3f} to {difference + half_width:+.3f})"
    if paid is None:
        return f"The {sides.what} did not pay, as far as can be told: {numbers}; the difference is within the noise."
    if paid:
        return f"The {sides.what} paid: {numbers}."
    return f"The {sides.what} did not pay: {numbers}; the {sides.rival} is better."
