"""How the ledger's SQLite file is made, opened and spoken of when it fails."""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from spnas.errors import IntegrityError, ResourceError, StudyInUseError, UsageError
from spnas.runs import files

APPLICATION_ID = 0x53504E41
SCHEMA = 1
ADVICE = "the file was damaged: restore it from a backup, or begin a new study"
TABLES = (
    "CREATE TABLE event (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, "
    "sha256 TEXT NOT NULL, UNIQUE (kind, name))",
    "CREATE TABLE elapsed (id INTEGER PRIMARY KEY, seconds TEXT NOT NULL, sha256 TEXT NOT NULL)",
    "CREATE TRIGGER event_not_changed BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'append-only'); END",
    "CREATE TRIGGER event_not_removed BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'append-only'); END",
)
_SECONDS_TO_WAIT_FOR_READERS = 30.0

Event = tuple[int, str, str, str, str]  # id, kind, name, body and checksum


def create(path: Path, events: Iterable[Event] = (), *, elapsed: tuple[str, str] | None = None) -> None:
    """Make a ledger in one step, empty or with events that were checked, so that an empty file can only be a damaged
    one; whatever stood at `path` is replaced.

    elapsed: seconds and their checksum, as they stand in a ledger.
    """
    temp = path.with_name(files.TEMPORARY.replace("*", f"ledger-{os.getpid()}"))
    with files.faults_named(path):
        temp.unlink(missing_ok=True)
    try:
        with (
            sqlite_faults_named(path),
            contextlib.closing(sqlite3.connect(temp, isolation_level=None)) as connection,
        ):
            # nobody reads it before it is whole and synced, and a journal of its own would outlive a crash
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            for table in TABLES:
                connection.execute(table)
            for row in events:
                connection.execute("INSERT INTO event (id, kind, name, body, sha256) VALUES (?, ?, ?, ?, ?)", row)
            if elapsed is not None:
                connection.execute("INSERT INTO elapsed (id, seconds, sha256) VALUES (1, ?, ?)", elapsed)
            connection.execute("COMMIT")
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    files.commit_file(temp, path)


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open the database of a ledger, checked to be one.

    Raises: UsageError when it cannot be read; IntegrityError when it is none of ours.
    """
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError as fault:
        raise UsageError(f"{path}: cannot be read ({fault.strerror}); name the folder of a study") from None
    if header[:16] != b"SQLite format 3\0" or header[18:20] != b"\1\1":  # 1, 1: rollback journal
        raise IntegrityError(f"{path}: is no ledger of spnas; {ADVICE}")
    # A reader has to be able to roll back what a killed writer left, so it opens for writing where it may.
    may_write = not read_only or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
    with sqlite_faults_named(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rw' if may_write else 'ro'}",
            uri=True,
            isolation_level=None,
            timeout=_SECONDS_TO_WAIT_FOR_READERS,
        )
        try:
            connection.text_factory = bytes
            # EXTRA also syncs the folder once the journal is gone: else a power cut may bring the journal back,
            # and that would roll back what was acknowledged.
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def sqlite_faults_named(path: Path) -> Iterator[None]:
    """Turn what SQLite refuses inside the block into a sentence about `path`."""
    try:
        yield
    except UnicodeDecodeError as fault:  # in a message of SQLite that quotes the damaged file
        raise IntegrityError(f"{path}: its tables cannot be read; {ADVICE}") from fault
    except sqlite3.Error as fault:
        match getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
            case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_NOMEM:
                raise ResourceError(
                    f"{path}: cannot be written ({fault}); free some space, then run the same command again"
                ) from fault
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_FORMAT | sqlite3.SQLITE_ERROR:
                raise IntegrityError(f"{path}: {fault}; {ADVICE}") from fault
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                raise StudyInUseError(f"{path}: another process is using it; wait for it, or stop it") from fault
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                raise UsageError(f"{path}: cannot be written ({fault}); make the folder writable") from fault
            case _:
                raise
