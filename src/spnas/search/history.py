"""What a proposer may look at."""

from collections.abc import Callable

import msgspec

from spnas.arch import Arch, Candidate, Outcome
from spnas.search.budget import Spent

CostOf = Callable[[Arch], Spent]


class History(msgspec.Struct, frozen=True):
    """Everything tried so far, and what was learned from it; what is still being trained has no outcome."""

    candidates: tuple[Candidate, ...]
    outcomes: dict[int, Outcome]

    def seen_by(self, number: int, lag: int) -> "History":
        """Return what candidate `number` is proposed from: the outcomes of candidates up to `number - lag`.

        All candidates before it are seen (they are themselves a function of what was seen before), their outcomes
        are not; so the number of workers, and which of them was faster, cannot change the search.
        """
        newest = newest_seen(number, lag)
        return History(
            tuple(c for c in self.candidates if c.number < number),
            {n: outcome for n, outcome in self.outcomes.items() if n <= newest},
        )

    def ready_for(self, number: int, lag: int) -> bool:
        """Whether all outcomes are there that candidate `number` has to be proposed from."""
        newest = newest_seen(number, lag)
        return all(c.number in self.outcomes for c in self.candidates if c.number <= newest)

    def control_of(self, parent: int) -> Candidate | None:
        """Return the candidate that continues `parent` unchanged: one that has not failed, else the last of them."""
        controls = [c for c in self.candidates if c.role == "control" and c.parent == parent]
        return next((c for c in controls if not self.failed(c)), controls[-1] if controls else None)

    def failed(self, candidate: Candidate) -> bool:
        """Whether the outcome is there, and a failure."""
        outcome = self.outcomes.get(candidate.number)
        return outcome is not None and outcome.failure is not None

    def tries_at_control(self, parent: int) -> int:
        """Return how often it was tried to continue `parent`."""
        return sum(c.role == "control" and c.parent == parent for c in self.candidates)


def newest_seen(number: int, lag: int) -> int:
    """Return the newest candidate whose outcome counts for `number`; the root's always does."""
    return max(0, number - lag)
