"""What was proposed and what was learned, as events that are only ever added.

There is no "running" on disk: an unfinished candidate is one without an outcome. One writer at a time is what
`RunFolder.lock` sees to; readers may come at any time.
"""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from spnas.arch import Candidate, Outcome
from spnas.errors import IntegrityError, UsageError
from spnas.runs.database import ADVICE, APPLICATION_ID, SCHEMA, TABLES, connect, create, sqlite_faults_named

DIFFER_BETWEEN_RUNS = ("seconds",)

T = TypeVar("T")


class Ledger:
    """The events of one study; a record that was acknowledged survives a crash at any instant."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._batched = False

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> "Ledger":
        """Open the ledger and check all of it; for writing, a new one is made where there is none.

        Raises: IntegrityError when it is damaged; UsageError when there is none, or a newer spnas wrote it.
        """
        if not path.exists():
            if read_only:
                raise UsageError(f"{path}: there is no ledger; name a folder that 'spnas search' wrote")
            create(path)
        ledger = cls(path, connect(path, read_only=read_only))
        try:
            problems = ledger.problems()
            if problems:
                raise IntegrityError(problems[0])
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def propose(self, candidate: Candidate) -> None:
        """Add a candidate; the same again changes nothing.

        Raises: IntegrityError when another one has its number.
        """
        self._add_once("candidate", str(candidate.number), candidate)

    def record(self, outcome: Outcome) -> None:
        """Add the outcome of a candidate, once it has one.

        Raises: ValueError when the candidate is unknown, has an outcome already, or a number is not finite.
        """
        name = str(outcome.number)
        body = _encode("outcome", name, outcome)
        with self._writing():
            if self._body("candidate", name) is None:
                raise ValueError(f"outcome {name}: there is no candidate {name}; propose it first")
            if self._body("outcome", name) is not None:
                raise ValueError(f"outcome {name}: candidate {name} has an outcome already; it is never replaced")
            self._insert("outcome", name, body)

    def note(self, name: str, value: object) -> None:
        """Add a record of another kind under its own name; the same again changes nothing.

        Raises: IntegrityError when something else stands under this name.
        """
        self._add_once("note", name, value)

    def noted(self, name: str, type: type[T]) -> T | None:
        """Return what was noted under `name`, or None."""
        with sqlite_faults_named(self.path):
            body = self._body("note", name)
        return None if body is None else self._decode("note", name, body, type)

    def notes(self, prefix: str, type: type[T]) -> dict[str, T]:
        """Return all notes whose name begins with `prefix`, by what follows it."""
        found = [(name, body) for name, body in self._bodies("note") if name.startswith(prefix)]
        return {name.removeprefix(prefix): self._decode("note", name, body, type) for name, body in found}

    def candidates(self) -> list[Candidate]:
        """Return all candidates in the order of their numbers."""
        found = [self._decode("candidate", name, body, Candidate) for name, body in self._bodies("candidate")]
        return sorted(found, key=lambda candidate: candidate.number)

    def outcomes(self) -> dict[int, Outcome]:
        """Return all outcomes by the number of their candidate, in the order of these."""
        found = [self._decode("outcome", name, body, Outcome) for name, body in self._bodies("outcome")]
        return {outcome.number: outcome for outcome in sorted(found, key=lambda outcome: outcome.number)}

    def add_elapsed(self, seconds: float) -> None:
        """Count time that the study was active; a crash loses only what was not counted yet."""
        with self._writing():
            total = repr(self._elapsed() + seconds)
            self._connection.execute(
                "INSERT OR REPLACE INTO elapsed (id, seconds, sha256) VALUES (1, ?, ?)", (total, digest_of(total))
            )

    def elapsed_seconds(self) -> float:
        """Return the time that the study was active, over all sittings."""
        with sqlite_faults_named(self.path):
            return self._elapsed()

    def dump(self) -> str:
        """Return what must be the same for the same study, however and wherever it ran, as lines of JSON.

        Left out are times and notes whose name begins with an underscore.
        """
        outcomes = self.outcomes()
        lines: list[dict[str, object]] = []
        for candidate in self.candidates():
            outcome = outcomes.get(candidate.number)
            learned = None if outcome is None else cast("dict[str, object]", msgspec.to_builtins(outcome))
            for field in DIFFER_BETWEEN_RUNS if learned else ():
                del learned[field]  # type: ignore[union-attr]
            lines.append({"candidate": candidate, "outcome": learned})
        for name, body in sorted(self._bodies("note")):
            if not name.startswith("_"):
                lines.append({"note": name, "value": msgspec.Raw(body)})
        return "".join(msgspec.json.encode(line, order="sorted").decode() + "\n" for line in lines)

    def problems(self) -> list[str]:
        """Return one line for everything that is not as it was written.

        Raises: UsageError when a newer spnas wrote it; IntegrityError when it cannot be read at all.
        """
        with sqlite_faults_named(self.path):
            application, schema = (
                self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            )
            if application != APPLICATION_ID:
                return [f"{self.path}: is no ledger of spnas; {ADVICE}"]
            if schema > SCHEMA:
                raise UsageError(
                    f"{self.path}: its schema {schema} is newer than {SCHEMA}; install the spnas that wrote it"
                )
            tables = self._connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
            if schema != SCHEMA or {table for (table,) in tables} != {table.encode() for table in TABLES}:
                return [f"{self.path}: its tables are not those of schema {SCHEMA}; {ADVICE}"]
            checks = [line.decode(errors="replace") for (line,) in self._connection.execute("PRAGMA integrity_check")]
            found = [f"{self.path}: {' '.join(check.split())}; {ADVICE}" for check in checks if check != "ok"]
            rows = self._connection.execute("SELECT id, kind, name, body, sha256 FROM event ORDER BY id").fetchall()
            for expected, (id, kind, name, body, checksum) in enumerate(rows, start=1):
                if id != expected or digest_of(kind, name, body).encode() != checksum:
                    found.append(f"{self.path}: event {id} is not what its checksum says; {ADVICE}")
            try:
                self._elapsed()
            except IntegrityError as fault:
                found.append(str(fault))
            return found

    def _add_once(self, kind: str, name: str, value: object) -> None:
        body = _encode(kind, name, value)
        with self._writing():
            known = self._body(kind, name)
            if known is None:
                self._insert(kind, name, body)
            elif known != body:
                raise IntegrityError(
                    f"{self.path}: {kind} {name} is written already, and differently "
                    f"({known[:200].decode(errors='replace')}); the study was made with other settings or "
                    "another version: begin a new study"
                )

    def _insert(self, kind: str, name: str, body: bytes) -> None:
        row = (kind, name, body.decode(), digest_of(kind, name, body))
        next_id = "(SELECT coalesce(max(id), 0) + 1 FROM event)"
        self._connection.execute(
            f"INSERT INTO event (id, kind, name, body, sha256) VALUES ({next_id}, ?, ?, ?, ?)", row
        )

    def _body(self, kind: str, name: str) -> bytes | None:
        row = self._connection.execute(
            "SELECT body, sha256 FROM event WHERE kind = ? AND name = ?", (kind, name)
        ).fetchone()
        return None if row is None else self._checked(kind, name, *row)

    def _bodies(self, kind: str) -> list[tuple[str, bytes]]:
        with sqlite_faults_named(self.path):
            rows = self._connection.execute(
                "SELECT name, body, sha256 FROM event WHERE kind = ? ORDER BY id", (kind,)
            ).fetchall()
        return [(name.decode(), self._checked(kind, name, body, checksum)) for name, body, checksum in rows]

    def _checked(self, kind: str, name: str | bytes, body: bytes, checksum: bytes) -> bytes:
        if digest_of(kind, name, body).encode() != checksum:
            raise IntegrityError(f"{self.path}: {kind} {name!r} is not what its checksum says; {ADVICE}")
        return body

    def _decode(self, kind: str, name: str, body: bytes, type: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=type)
        except msgspec.MsgspecError as fault:
            raise IntegrityError(
                f"{self.path}: {kind} {name} cannot be read ({fault}); use the version of spnas that wrote it"
            ) from None

    def _elapsed(self) -> float:
        row = self._connection.execute("SELECT seconds, sha256 FROM elapsed").fetchone()
        if row is None:
            return 0.0
        if digest_of(row[0]).encode() != row[1]:
            raise IntegrityError(f"{self.path}: the elapsed time is not what its checksum says; {ADVICE}")
        return float(row[0])

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Write all that is added inside the block at its end, in one go: all of it is there after a crash, or none.

        When the block raises, none of it is.
        """
        with self._writing():
            try:
                self._batched = True
                yield
            finally:
                self._batched = False

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        if self._batched:
            yield
            return
        with sqlite_faults_named(self.path):
            self._roll_back()  # Ctrl-C came right after a transaction began: it is nobody's
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            finally:
                self._roll_back()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _encode(kind: str, name: str, value: object) -> bytes:
    try:
        json.dumps(msgspec.to_builtins(value, str_keys=True), allow_nan=False)
    except ValueError:  # msgspec would write null, which no reader of a number takes
        raise ValueError(f"{kind} {name}: {value!r} holds a number that is not finite") from None
    return msgspec.json.encode(value, order="deterministic")


def digest_of(*parts: object) -> str:
    """Return the SHA-256 of the parts of a record."""
    whole = b"\x1f".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)
    return hashlib.sha256(whole).hexdigest()
