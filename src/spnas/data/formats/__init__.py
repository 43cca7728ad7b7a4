"""How data sets are written on disk: every module here is one format, under the name users type.

A format only translates. It says whether a path looks like it, which splits are there, and what each of
them holds, as columns (`RawData`); everything that is wrong with any data set is found in `checks`.
"""

from pathlib import Path
from typing import Literal, Protocol

from spnas.data.raw import RawData


class Format(Protocol):
    """The contract of a module on this shelf."""

    LAYOUT: str
    """What a folder of this format looks like, for the message when nothing is recognised."""

    def recognise(self, path: Path) -> bool:
        """Tell whether `path` looks like this format, without reading much."""
        ...

    def usual_split(self, path: Path, role: Literal["train", "val"]) -> str | None:
        """Return the split to learn from or to judge on when the user names none; None: there is none.

        Raises: DataError when several could be meant.
        """
        ...

    def read(self, path: Path, *, split: str) -> RawData:
        """Translate one split.

        Raises: DataError when it is not there, or cannot be understood.
        """
        ...
