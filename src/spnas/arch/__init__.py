"""What a network is, as a value: no torch here."""

from spnas.arch.arch import Arch
from spnas.arch.candidate import Candidate, Outcome
from spnas.arch.move import Move
from spnas.arch.notation import parse
from spnas.arch.space import Space

__all__ = ["Arch", "Candidate", "Move", "Outcome", "Space", "parse"]
