"""Learning rate as a function of the step, as a share of the peak."""

import math
from typing import Literal

Schedule = Literal["onecycle", "cosine", "steps"]


def rate(schedule: Schedule, step: int, steps: int, warmup: int, *, drops: tuple[float, ...] = ()) -> float:
    """Return the learning rate's share of its peak before step `step` of `steps`.

    onecycle: from 1/25 up over 30 % of the steps, down to 1/10000, both by cosine. cosine: linear warm-up, then half a
    cosine down to 0. steps: linear warm-up, then / 10 at 2/3 and at 8/9, or at the shares
    `drops` of all steps. Warm-up never takes more than a tenth.
    """
    if schedule == "onecycle":
        rise = max(round(0.3 * steps), 1)
        if step < rise:
            return _cosine(1 / 25, 1.0, step / rise)
        return _cosine(1.0, 1e-4, (step - rise) / max(1, steps - rise))
    warmup = min(warmup, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "cosine":
        return _cosine(1.0, 0.0, (step - warmup) / max(1, steps - warmup))
    if drops:
        return float(0.1 ** sum(step >= round(share * steps) for share in drops))
    return 0.1 ** ((step >= steps * 2 // 3) + (step >= steps * 8 // 9))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2
