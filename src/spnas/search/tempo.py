"""How long trainings take: from a measurement beforehand, or learned from those that are done."""

from typing import Literal, NamedTuple

import msgspec
import numpy as np

Kind = Literal["root", "search", "ignition", "final"]
CROWDED = 1.35  # a step beside as many others as there are cores, in units of one alone, where it was not measured
GROWTH = 0.6  # share of a step that grows with the backbone's GMACs, likewise
LOOK_STEPS = 12.0  # beginning and judging a training, in steps, likewise
BELIEF = 0.1  # how firmly these are believed, in trainings that say otherwise


class Training(NamedTuple):
    """What is known of a training before it is done.

    looks: how often it is judged. weight: GMACs of its backbone in units of the root's. share: how much of it is to
    come, where it is under way or may not be at all.
    """

    kind: Kind
    steps: float
    looks: int = 1
    weight: float = 1.0
    share: float = 1.0


class Tempo(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a machine works, in seconds.

    step: of the root's net, trained alone. crowded: by what that is multiplied when as many train as there are
    workers. growth: the share of a step that grows with the backbone's GMACs. begin: what every training takes
    besides steps and looks. look, final_look: judging it once, in the search and in the finals.
    """

    step: float
    crowded: float = CROWDED
    growth: float = GROWTH
    begin: float = 0.0
    look: float = 0.0
    final_look: float = 0.0
    ignition_step: float | None = None
    ignition_look: float = 0.0

    def seconds(self, training: Training, *, alone: bool = False) -> float:
        """Return how long a training takes, alone or beside others."""
        slow = 1.0 if alone else self.crowded
        if training.kind == "ignition":
            step = self.ignition_step if self.ignition_step is not None else self.step
            return training.share * (self.begin + slow * (training.steps * step + training.looks * self.ignition_look))
        grown = 1 - self.growth + self.growth * training.weight
        look = self.final_look if training.kind == "final" else self.look
        work = training.steps * self.step * grown + training.looks * look
        return training.share * (self.begin + slow * work)


def first_guess(step: float) -> Tempo:
    """Return what can be said when only the root's pace is known."""
    look = LOOK_STEPS * step
    return Tempo(step=step, look=look, final_look=look)


def learned(done: list[tuple[Training, float]], before: Tempo, *, workers: int) -> Tempo:
    """Return a tempo that fits trainings and the seconds they took; what they do not tell stays as it was `before`.

    The root was alone, all others were beside as many as there are workers.
    """
    ignitions = [seconds / max(1.0, t.steps) for t, seconds in done if t.kind == "ignition"]
    if ignitions:
        slow = before.crowded if workers > 1 else 1.0
        before = msgspec.structs.replace(before, ignition_step=float(np.mean(ignitions)) / slow, ignition_look=0.0)
    rows, seconds = [], []
    for training, took in done:
        if training.kind == "ignition" or took <= 0:
            continue
        steps = training.steps * (1 - before.growth + before.growth * training.weight)
        alone = training.kind == "root" or workers == 1
        final = training.kind == "final"
        looks = float(training.looks)
        row = [steps * alone, steps * (not alone), looks * (not final), looks * final]
        rows.append(np.array(row) / took)
        seconds.append(1.0)
    if not rows:
        return before
    slow = before.crowded if workers > 1 else 1.0
    prior = np.array([before.step, before.step * slow, before.look * slow, before.final_look * slow])
    belief = np.diag(np.sqrt(BELIEF) / np.maximum(prior, 1e-9))
    found = _nonnegative(np.vstack([*rows, belief]), np.concatenate([seconds, np.full(4, np.sqrt(BELIEF))]))
    step = found[0]
    crowded = max(1.0, found[1] / step) if workers > 1 and step > 0 else 1.0
    return msgspec.structs.replace(
        before, step=step, crowded=crowded, begin=0.0, look=found[2] / crowded, final_look=found[3] / crowded
    )


def _nonnegative(rows: np.ndarray, wanted: np.ndarray) -> list[float]:
    """Solve least squares with no value below 0: what comes out below is 0, and the others are solved anew."""
    kept = list(range(rows.shape[1]))
    found = np.zeros(rows.shape[1])
    while kept:
        values = np.linalg.lstsq(rows[:, kept], wanted, rcond=None)[0]
        if (values >= 0).all():
            found[kept] = values
            break
        kept = [k for k, value in zip(kept, values, strict=True) if value >= 0]
    return [float(value) for value in found]
