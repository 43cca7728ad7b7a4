"""Everything that a proposer may look at, taken in outcome by outcome.

An archive is a fold: the same candidates and outcomes in the same order make the same archive, so a study has no
state but its ledger. Taking one outcome in, and proposing from what there is, cost the same whether ten or a hundred
thousand were taken in before.
"""

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from spnas.arch import Arch, Candidate, Outcome
from spnas.search.budget import CostOf
from spnas.search.front import Front, Point
from spnas.search.objective import Objective
from spnas.search.predictor import Predictor, features
from spnas.search.rules import Rules

if TYPE_CHECKING:
    from spnas.search.finalists import Finalists

MOST_PARENTS = 64
GENERATIONS = 4  # whose controls tell what training on brings to a net
MARGIN = 0.5  # of the noise; with more, most nets are level with all others, and search goes everywhere (search_parts)


class Generation(NamedTuple):
    """How many steps of descent after which root."""

    root: int
    after: int


class Archive:
    """What was tried, and what was learned from it as far as it counts by now.

    fitness: how good root and children are, as differences that compare. With controls it is the root's value, then
      the gains along the line of descent: a child trains on from its parent's weights, so its AP would grow with the
      length of its line even if no move did anything. What merely training on brings is measured by controls, nets
      that train on unchanged, on average over nets of its generation and those just before (decision 19).
    gains: by how much children beat what their parents would have come to.
    pool: who may be a parent.
    serial: the front of the nets without copies.
    promising: children that were stopped early, are worth going on with, and were not gone on with yet; by how much
      they beat that then. behind: those that are not worth it.
    """

    def __init__(self, rules: Rules, objective: Objective, cost: CostOf) -> None:
        self.rules, self.objective = rules, objective
        self.candidates: list[Candidate] = []
        self.outcomes: dict[int, Outcome] = {}
        self.known: set[str] = set()
        self.fitness: dict[int, float] = {}
        self.gains: dict[int, float] = {}
        self.pool: dict[int, Point] = {}
        self.front = Front(objective.reference)
        self.serial = Front(objective.reference)
        self.promising: dict[int, float] = {}
        self.behind: dict[int, float] = {}
        self.predictor = Predictor()
        self.noise: float | None = None
        self.finalists: Finalists | None = None
        self._cost = cost
        self._of_role: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._generation: dict[int, Generation] = {}
        self._controls: dict[Generation, list[int]] = defaultdict(list)
        self._waiting: dict[Generation, list[int]] = defaultdict(list)  # children whose parents' lack controls
        self._settled = 0  # children of which it is known what became of them
        self._grown_at = 0  # how many these were when the hypervolume last grew

    def see(self, candidate: Candidate) -> None:
        """Take in that a candidate was proposed; in the order of their numbers."""
        self.candidates.append(candidate)
        self._of_role[candidate.phase, candidate.role].append(candidate.number)
        if candidate.role == "root" or candidate.parent is None:
            self._generation[candidate.number] = Generation(candidate.number, 0)
        elif candidate.role in ("child", "rung"):
            root, after = self._generation[candidate.parent]
            self._generation[candidate.number] = Generation(root, after + 1)
        if candidate.role == "control" and candidate.parent is not None:
            self._controls[self._generation[candidate.parent]].append(candidate.number)
        elif candidate.role == "rung" and candidate.continues is not None:
            self.promising.pop(candidate.continues, None)
            self.behind.pop(candidate.continues, None)
        elif candidate.role not in ("final", "rival"):
            self.known.add(candidate.arch.id)

    def learn(self, outcome: Outcome) -> None:
        """Take in what came of a candidate; in the order of their numbers."""
        number = outcome.number
        candidate = self.candidates[number]
        self.outcomes[number] = outcome
        if candidate.role in ("final", "rival", "reignite"):
            return
        if outcome.failure:
            self._settled += candidate.role in ("child", "rung")
            return
        if candidate.role == "control" and candidate.parent is not None:
            generation = self._generation[candidate.parent]
            self._measure_noise(generation)
            for waiting in self._waiting.pop(generation, ()):
                self._score(waiting)
        else:
            self._score(number)

    def of_role(self, role: str, phase: str) -> list[int]:
        """Return the numbers of a phase's candidates of one role."""
        return self._of_role[phase, role]

    def roots(self) -> list[int]:
        """Return the numbers of all roots: the first, and those that re-ignition made."""
        return [n for phase in ("serial", "reignite", "parallel") for n in self._of_role[phase, "root"]]

    def failed(self, number: int) -> bool:
        """Whether the outcome counts by now, and is a failure."""
        outcome = self.outcomes.get(number)
        return outcome is not None and outcome.failure is not None

    def controls(self, parent: int) -> list[int]:
        """Return the controls of the generation of `parent` that have not failed, with or without an outcome."""
        return [n for n in self._controls[self._generation[parent]] if not self.failed(n)]

    def tries_at_control(self, parent: int) -> int:
        """Return how often it was tried to continue a net of the generation of `parent`."""
        return len(self._controls[self._generation[parent]])

    def price(self, arch: Arch) -> float:
        """Return what a net costs, in the unit of the objective."""
        return float(getattr(self._cost(arch), self.objective.against))

    @property
    def stuck(self) -> int:
        """Children of which it became known what they are worth since the hypervolume last grew."""
        return self._settled - self._grown_at

    def _score(self, number: int) -> None:
        """Give a candidate its fitness, if all that it is compared with is there."""
        candidate, outcome = self.candidates[number], self.outcomes[number]
        value, parent = self.objective.value(outcome.metrics), candidate.parent
        if value is None:
            return
        if candidate.role == "root" or parent is None or not self.rules.controls:
            if candidate.until is None:
                self._place(number, value)
            return
        early, before = candidate.until is not None, self.objective.value(self.outcomes[parent].metrics)
        drift = self._drift(self._generation[parent], early=early)
        if drift is None or before is None:
            self._waiting[self._generation[parent]].append(number)
            return
        gain = value - before - drift
        if not early:
            self.gains[number] = gain
            self._place(number, self.fitness[parent] + gain)
        elif gain >= -self._margin:
            self.promising[number] = gain
        else:
            self.behind[number] = gain
            self._settled += 1

    def _drift(self, generation: Generation, *, early: bool) -> float | None:
        """Return what training on brings to nets of a generation, or up to a rung; None before one was measured.

        What it brought to the generations just before counts too, the less the earlier: a single control is luck.
        """
        root, after = generation
        found = [
            self._drifts(Generation(root, after - back), early=early) for back in range(min(GENERATIONS, after + 1))
        ]
        if not found[0]:
            return None
        weight = sum(len(drifts) / (1 + back) for back, drifts in enumerate(found))
        return sum(sum(drifts) / (1 + back) for back, drifts in enumerate(found)) / weight

    def _drifts(self, generation: Generation, *, early: bool = False) -> list[float]:
        """Return by how much the nets of a generation got better by training on, or training on for a rung."""
        found = list[float]()
        for control in self._controls[generation]:
            parent = self.candidates[control].parent
            if control in self.outcomes and not self.failed(control) and parent is not None:
                outcome = self.outcomes[control]
                after = self.objective.value(outcome.early if early else outcome.metrics)
                before = self.objective.value(self.outcomes[parent].metrics)
                if after is not None and before is not None:
                    found.append(after - before)
        return found

    def _place(self, number: int, fitness: float) -> None:
        arch = self.candidates[number].arch
        point = Point(number, fitness, self.price(arch))
        self.fitness[number] = fitness
        self._settled += self.candidates[number].role != "root"
        before = self.front.hypervolume
        on_front = self.front.add(point)
        if not arch.copies:
            self.serial.add(point)
        if self.front.hypervolume > before or self.candidates[number].role == "root":
            self._grown_at = self._settled
        self.predictor.learn(features(arch, point.cost / self.objective.reference), fitness)
        if on_front or fitness + self._margin >= self.front.beats(point.cost):
            self.pool[number] = point
            self._thin()

    @property
    def _margin(self) -> float:
        """How far behind is as good as level, as far as noise was measured."""
        return MARGIN * self.noise if self.rules.noise and self.noise is not None else 0.0

    def _thin(self) -> None:
        """Drop from the pool who is beaten by more than the noise, and the most beaten where it is too full."""
        behind = {n: self.front.beats(p.cost) - p.fitness for n, p in self.pool.items()}
        self.pool = {n: p for n, p in self.pool.items() if behind[n] <= self._margin}
        if len(self.pool) > MOST_PARENTS:
            kept = sorted(self.pool, key=lambda n: (behind[n], -n))[:MOST_PARENTS]
            self.pool = {n: self.pool[n] for n in sorted(kept)}

    def _measure_noise(self, generation: Generation) -> None:
        """Estimate from repeated controls of a root how far two trainings of one net lie apart."""
        drifts = self._drifts(generation)
        if len(drifts) > 1 and generation.after == 0:
            self.noise = statistics.stdev(drifts)


def newest_that_counts(number: int, lag: int) -> int:
    """Return the newest candidate whose outcome counts for candidate `number`; the root's always does.

    The outcomes of up to `lag` candidates before it do not, so the number of workers, and which of them was faster,
    cannot change the search.
    """
    return max(0, number - lag)
