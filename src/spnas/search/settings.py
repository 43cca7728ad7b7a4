"""What a search hangs on, besides what it learns."""

import math

import msgspec

from spnas.arch import Arch, Space
from spnas.search.budget import Budget
from spnas.search.objective import Objective
from spnas.search.rules import Rules

LAG = 4
PHASES = ("serial", "reignite", "parallel", "final")  # in the order in which they run
USUAL_PHASES = ("serial", "parallel", "final")
RELEASED_PHASES = ("serial", "final")  # the rule of the release draws copies together with all else
NOISE_CONTROLS = 3  # of the root, where the noise is to be measured


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is trained; fixed when a study begins, so that an interrupted one ends as an uninterrupted one.

    candidates: children of the serial phase; the root and one control per parent come on top.
    copies: children of the parallel phase. ignite_steps: of a backbone as a classifier.
    stuck: a search re-ignites when the hypervolume has not grown for so many children.
    finalists: nets that are trained in full beside their rival, at most.
    """

    candidates: int
    root_steps: int
    child_steps: int
    final_steps: int
    finalists: int
    seeds: int
    copies: int = 0
    ignite_steps: int = 0
    stuck: int = 8

    @property
    def rung_steps(self) -> int:
        """After how many steps a child is looked at, where rungs are on: a third."""
        return max(1, self.child_steps // 3)

    @property
    def ignition_charge(self) -> int:
        """How many children a re-ignition costs: the classifier's steps, and those of the new root."""
        return math.ceil((self.ignite_steps + self.root_steps) / self.child_steps)


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A search; `lag` is explained in `archive.newest_that_counts`."""

    root: Arch
    space: Space
    budget: Budget
    plan: Plan
    preset: str = "plus"
    rules: Rules = Rules()
    phases: tuple[str, ...] = USUAL_PHASES
    objective: Objective = Objective()
    seed: int = 0
    lag: int = LAG
    most_moves: int = 3
