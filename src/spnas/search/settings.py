"""What a search hangs on, besides what it learns."""

import msgspec

from spnas.arch import Arch, Space
from spnas.search.budget import Budget

LAG = 4


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is trained; fixed when a study begins, so that an interrupted one ends as an uninterrupted one.

    candidates: children to be tried; the root and one control per parent come on top.
    """

    candidates: int
    root_steps: int
    child_steps: int
    final_steps: int
    finalists: int
    seeds: int

    @property
    def final_steps_in_all(self) -> int:
        """Steps of the final phase: finalists and one rival, over all seeds."""
        return (self.finalists + 1) * self.seeds * self.final_steps

    @property
    def most_steps(self) -> int:
        """Steps of the whole plan if every other training of the search were a control."""
        return self.root_steps + 2 * self.candidates * self.child_steps + self.final_steps_in_all


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A search; `lag` is explained in `history`."""

    root: Arch
    space: Space
    budget: Budget
    plan: Plan
    seed: int = 0
    lag: int = LAG
    most_moves: int = 3
