"""What is done to the files of a damaged study: nothing is deleted, a ledger is replaced only by one whose events all
hold, and what is put aside lies in a folder that says so."""

import contextlib
import itertools
import os
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from spnas.runs import files
from spnas.runs.database import Event, connect, create, sqlite_faults_named
from spnas.runs.folder import RunFolder
from spnas.runs.ledger import digest_of

ASIDE = "damaged"


class Salvaged(msgspec.Struct, frozen=True, kw_only=True):
    """What could be read from a ledger: events whose checksums hold, up to the first that is lost, with the outcomes
    that come after it; how many there were; the time on record."""

    events: tuple[Event, ...]
    of: int
    elapsed: tuple[str, str] | None


def salvage(path: Path) -> Salvaged:
    """Read all that holds from a ledger.

    What was written before the first lost event is a state that the study was in. Of what was written after it,
    outcomes can be told to belong to candidates of that state; all else may hang on what is lost.
    Raises: IntegrityError when it is not even a database.
    """
    with contextlib.closing(connect(path, read_only=True)) as database:
        with sqlite_faults_named(path):
            last = database.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()[0]
        whole = [_read(database, id) for id in range(1, last + 1)]
        elapsed = None
        with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
            row = database.execute("SELECT seconds, sha256 FROM elapsed WHERE id = 1").fetchone()
            if row is not None and digest_of(row[0]).encode() == row[1]:
                elapsed = (row[0].decode(), row[1].decode())
    first_lost = whole.index(None) if None in whole else len(whole)
    kept = [event for event in whole[:first_lost] if event is not None]
    proposed = {name for _, kind, name, _, _ in kept if kind == "candidate"}
    kept += [event for event in whole[first_lost:] if event and event[1] == "outcome" and event[2] in proposed]
    return Salvaged(events=tuple(kept), of=last, elapsed=elapsed)


def _read(database: sqlite3.Connection, id: int) -> Event | None:
    """Read one event; None when it is gone or is not what its checksum says."""
    try:
        row = database.execute("SELECT kind, name, body, sha256 FROM event WHERE id = ?", (id,)).fetchone()
        if row is None or digest_of(*row[:3]).encode() != row[3]:
            return None
        kind, name, body, digest = (part.decode() for part in row)
        return id, kind, name, body, digest
    except (sqlite3.Error, UnicodeDecodeError, AttributeError):
        return None


def replace_ledger(folder: RunFolder, events: Iterable[Event], elapsed: tuple[str, str] | None) -> Path:
    """Put a ledger of these events in the place of the study's, which stays beside it; return where."""
    backup = free_name(folder.root, "ledger-before-repair-", ".sqlite")
    temp = folder.root / files.TEMPORARY.replace("*", f"backup-{os.getpid()}")
    with files.faults_named(backup):
        shutil.copyfile(folder.ledger, temp)
    files.commit_file(temp, backup)
    journal = folder.ledger.with_name(f"{folder.ledger.name}-journal")
    if journal.exists():  # it belongs to the ledger that was, and must never be rolled back into the new one
        put_aside(folder, journal)
    create(folder.ledger, [(i, *event[1:]) for i, event in enumerate(events, start=1)], elapsed=elapsed)
    return backup


def put_aside(folder: RunFolder, path: Path) -> Path:
    """Move a file or folder of the study to where damaged things lie, and return where."""
    into = free_name(folder.root / ASIDE, f"{path.relative_to(folder.root).as_posix().replace('/', '-')}.")
    with files.faults_named(into):
        into.parent.mkdir(exist_ok=True)
        os.replace(path, into)
        files.sync_folder(into.parent)
        files.sync_folder(path.parent)
    return into


def free_name(folder: Path, beginning: str, ending: str = "") -> Path:
    """Return the first path in `folder` that is not taken: a number, from 1, between `beginning` and `ending`."""
    return next(path for n in itertools.count(1) if not (path := folder / f"{beginning}{n}{ending}").exists())
