"""Where work happens and where it rests: no torch here."""

from spnas.runs.folder import RunFolder
from spnas.runs.ledger import Ledger

__all__ = ["Ledger", "RunFolder"]
