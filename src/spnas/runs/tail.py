"""The events of a ledger as they come, for readers that change nothing and hold nobody up.

`Ledger` opens for writing even to read, since it has to roll back what a killed writer left half written. This one
never writes to the study: where there is something to roll back, it does that with a copy.
"""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from spnas.errors import IntegrityError, StudyInUseError, UsageError
from spnas.runs.database import ADVICE, APPLICATION_ID, SCHEMA, sqlite_faults_named
from spnas.runs.ledger import digest_of

SECONDS_TO_WAIT = 2.0  # for a writer that is just writing; after that, next time


class Event(NamedTuple):
    """One record as it was written: its kind (candidate, outcome, note), its name and its JSON."""

    kind: str
    name: str
    body: bytes


class Tail:
    """Follows a ledger; `elapsed` is the time on record, `changed_at` when the file was last written (epoch)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.elapsed = 0.0
        self.changed_at: float | None = None
        self._last = 0
        self._state: tuple[int, int, int] | None = None

    def news(self) -> list[Event]:
        """Return what was added since the last call, without opening a file that has not changed.

        Raises: IntegrityError when it is damaged, or is another ledger than before; UsageError for a newer schema.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return []  # a study that has not begun yet
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
        if state == self._state:
            return []
        try:
            with sqlite_faults_named(self.path), self._open() as connection:
                rows, elapsed = self._read(connection)
        except StudyInUseError:  # it is being written: next time
            return []
        self._state, self.elapsed, self.changed_at = state, elapsed, status.st_mtime
        return rows

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(_connect(self.path, "ro")) as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                yield connection
                return
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
                raise
        with tempfile.TemporaryDirectory(prefix="spnas-") as folder:
            copy = Path(folder) / self.path.name
            for suffix in ("", "-journal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(f"{self.path}{suffix}", f"{copy}{suffix}")
            with contextlib.closing(_connect(copy, "rw")) as connection:
                yield connection

    def _read(self, connection: sqlite3.Connection) -> tuple[list[Event], float]:
        application, schema = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != APPLICATION_ID:
            raise IntegrityError(f"{self.path}: is no ledger of spnas; {ADVICE}")
        if schema > SCHEMA:
            raise UsageError(
                f"{self.path}: its schema {schema} is newer than {SCHEMA}; install the spnas that wrote it"
            )
        connection.execute("BEGIN")  # both tables as of one moment
        last = connection.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]
        if last < self._last:
            raise IntegrityError(f"{self.path}: events are gone that were there; watch it anew")
        found = []
        rows = connection.execute(
            "SELECT id, kind, name, body, sha256 FROM event WHERE id > ? ORDER BY id", (self._last,)
        ).fetchall()
        for expected, (number, kind, name, body, checksum) in enumerate(rows, start=self._last + 1):
            if number != expected or digest_of(kind, name, body).encode() != checksum:
                raise IntegrityError(f"{self.path}: event {number} is not what its checksum says; {ADVICE}")
            found.append(Event(kind.decode(), name.decode(), body))
        time = connection.execute("SELECT seconds FROM elapsed").fetchone()
        self._last = last
        return found, float(time[0]) if time else 0.0


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=SECONDS_TO_WAIT)
    connection.text_factory = bytes
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection
