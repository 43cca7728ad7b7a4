"""How long a study will take yet, from what its trainings took so far and from what is under way."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from spnas.arch import Candidate, Outcome
from spnas.search.archive import Archive
from spnas.search.forecast import Habits, habits_of, lay_out, left
from spnas.search.settings import SearchSettings
from spnas.search.tempo import LOOK_STEPS, Kind, Tempo, Training, first_guess, learned

KINDS: dict[str, Kind] = {"root": "root", "reignite": "ignition", "final": "final", "rival": "final"}
NEWEST = 200  # outcomes that a tempo is learned from
SECONDS_TO_SETTLE, SHARE_TO_SETTLE = 15.0, 0.02  # in which most of a new finding is shown; of what is left, if more
SECONDS_BETWEEN_LOOKS, SECONDS_AT_LEAST = 2.0, 0.5  # the latter where an outcome came in
LEAST_STEPS, LEAST_SECONDS = 20, 5.0  # of a training that its pace is told from


class Seen(NamedTuple):
    """A study at one moment; `running` has the step that every training under way has come to."""

    candidates: Sequence[Candidate]
    outcomes: Mapping[int, Outcome]
    archive: Archive
    over: Collection[str]
    running: Mapping[int, int]


class Eta:
    """When a study will end, asked again and again as it goes on.

    workers: at once; with None, as many as were ever seen, and `cores` before that.
    """

    def __init__(self, settings: SearchSettings, *, workers: int | None = None, cores: int = 1) -> None:
        self.settings = settings
        self._asked, self._cores, self._most = workers, cores, 0
        self._first: dict[int, tuple[float, int]] = {}  # when a step of a training was seen first
        self._last: dict[int, tuple[float, int]] = {}  # when the newest one was
        self._paces: dict[int, tuple[int, float]] = {}  # steps that were seen, and the seconds between
        self._end: float | None = None
        self._looked: float | None = None
        self._known = -1

    @property
    def workers(self) -> int:
        """How many train at once, as far as that is known."""
        return self._asked or (self._most if self._most > 1 else max(1, self._cores))

    def saw(self, workers: int) -> None:
        """Take in that so many trained at once."""
        self._most = max(self._most, workers)

    def left(self, seen: Seen, now: float, *, root_step: float | None = None) -> float | None:
        """Return the seconds that are left at `now`, in seconds of the study; None where nothing is known yet.

        root_step: seconds of a step of the root, where nothing else tells yet.
        """
        self.saw(len(seen.running))
        if len(seen.outcomes) > 1 and self._asked is None:
            self._cores = max(1, self._most)  # more would have begun by now
        self._follow(seen, now)
        passed = math.inf if self._looked is None else now - self._looked
        if passed >= (SECONDS_BETWEEN_LOOKS if len(seen.outcomes) == self._known else SECONDS_AT_LEAST):
            found = self._find(seen, root_step)
            if found is not None:
                settle = max(SECONDS_TO_SETTLE, SHARE_TO_SETTLE * found)
                before = now + found if self._end is None else self._end
                self._end = before + (1 - math.exp(-passed / settle)) * (now + found - before)
            self._looked, self._known = now, len(seen.outcomes)
        return None if self._end is None else max(0.0, self._end - now)

    def _follow(self, seen: Seen, now: float) -> None:
        """Take down how fast steps come, without what comes before the first and after the last."""
        for number, step in seen.running.items():
            if self._last.get(number, (0.0, 0))[1] == step:
                continue
            self._last[number] = now, step
            since, at = self._first.setdefault(number, (now, step))
            if step - at >= LEAST_STEPS and now - since >= LEAST_SECONDS:
                self._paces[number] = step - at, now - since
                self._paces.pop(min(self._paces) if len(self._paces) > NEWEST else -1, None)

    def _find(self, seen: Seen, root_step: float | None) -> float | None:
        tempo = self._tempo(seen, root_step)
        if tempo is None:
            return None
        habits = habits_of(seen.archive, self.settings)

        def seconds(training: Training, alone: bool) -> float:
            return tempo.seconds(training, alone=alone)

        together = min(self.workers, self.settings.lag)
        running = []
        for number, step in sorted(seen.running.items()):
            training = training_of(seen, number, self.settings, habits)
            alone = training.kind == "root" or together == 1
            running.append(seconds(training._replace(share=1 - self._share(seen, number, step, training)), alone))
        stream = left(seen.archive, self.settings, seen.over)
        ends = lay_out(stream, seconds=seconds, workers=self.workers, lag=self.settings.lag, running=running)
        return max([0.0, *running, *ends[-1:]])

    def _tempo(self, seen: Seen, root_step: float | None) -> Tempo | None:
        """Learn from outcomes; before there is one, from how fast steps come."""
        habits = habits_of(seen.archive, self.settings)
        done = [
            (training_of(seen, number, self.settings, habits), seen.outcomes[number].seconds)
            for number in sorted(seen.outcomes)[-NEWEST:]
            if not seen.outcomes[number].failure
        ]
        if 0 in seen.outcomes and len(seen.outcomes) > NEWEST and not seen.outcomes[0].failure:
            done.append((training_of(seen, 0, self.settings, habits), seen.outcomes[0].seconds))
        for number, (steps, took) in self._paces.items():
            training = training_of(seen, number, self.settings, habits)
            done.append((training._replace(steps=steps, looks=0), took))
        first = next((s / t.steps for t, s in done if t.kind == "root" and not t.looks and s > 0), None)
        first = first or next((s / (t.steps + LOOK_STEPS * t.looks) for t, s in done if s > 0), root_step)
        return None if first is None else learned(done, first_guess(first), workers=self.workers)

    def _share(self, seen: Seen, number: int, step: int, training: Training) -> float:
        """Return how much of a training is done; judging it counts as some of its steps."""
        begun = _begun_at(seen.candidates[number], self.settings)
        judging = 0.05 * training.steps
        return min(0.99, max(0, step - begun) / (training.steps + judging))


def kind_of(candidate: Candidate) -> Kind:
    """Return what kind of training a candidate is; a root that comes later is trained beside others."""
    return "search" if candidate.role == "root" and candidate.number else KINDS.get(candidate.role, "search")


def training_of(seen: Seen, number: int, settings: SearchSettings, habits: Habits) -> Training:
    """Return what is known of a candidate's training, before or after."""
    candidate = seen.candidates[number]
    steps = candidate.steps_here - _begun_at(candidate, settings)
    looks = 1 + (candidate.look is not None)
    return Training(kind_of(candidate), steps, looks=looks, weight=_weight(seen, candidate, habits))


def _begun_at(candidate: Candidate, settings: SearchSettings) -> int:
    return min(candidate.steps - 1, settings.plan.rung_steps) if candidate.continues is not None else 0


def _weight(seen: Seen, candidate: Candidate, habits: Habits) -> float:
    """Return a net's GMACs in units of the root's, from its own outcome or one of the same net."""
    root = seen.outcomes.get(0)
    if candidate.number == 0 or root is None or root.gmacs <= 0:
        return 1.0
    known = (candidate.number, candidate.continues, candidate.parent if candidate.role == "control" else None)
    found = (seen.outcomes[n].gmacs for n in known if n is not None and n in seen.outcomes)
    gmacs = next((g for g in found if g > 0), None)
    if gmacs is not None:
        return gmacs / root.gmacs
    final = candidate.role in ("final", "rival") and habits.best_weight is not None
    return habits.best_weight if final and habits.best_weight is not None else habits.weight
