"""A shelf of phases, each a pure proposer, without torch.

Every file offers `propose(number, archive, settings, cost) -> Candidate | None`: the next candidate of the study, from
what an archive holds by then, or None when the phase is over. The same archive gives the same candidate.
"""

from typing import Protocol

from spnas.arch import Candidate
from spnas.search.archive import Archive
from spnas.search.budget import CostOf
from spnas.search.settings import SearchSettings


class Phase(Protocol):
    """What a file on this shelf offers."""

    def propose(self, number: int, archive: Archive, settings: SearchSettings, cost: CostOf) -> Candidate | None:
        """Return candidate `number`, None when the phase is over."""
