"""Paths that come out of files: resolved inside the folder they belong to, and opened only as regular files."""

import difflib
import os
import re
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import msgspec

from spnas.errors import DataError, escape

DRIVE = re.compile(r"[A-Za-z]:[\\/]")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Place(msgspec.Struct, frozen=True):
    """Where a name leads, and in what way it had to be read for that ("" when literally)."""

    path: Path
    note: str = ""


def resolve_inside(root: Path, name: str, *, allow_outside: Path | None = None) -> Path:
    """Return the path that `name`, as a file wrote it, means inside `root` (or inside `allow_outside`).

    Raises: DataError when it is no plain name, leads elsewhere, or differs from a file's name by case only.
    """
    return Resolver(root, allow_outside=allow_outside).place(name).path


class Resolver:
    """Resolves many names under one folder, looking at every folder once."""

    def __init__(self, root: Path, *, allow_outside: Path | None = None) -> None:
        self.root = root
        self.allowed = tuple(os.path.realpath(r) for r in (root, allow_outside) if r is not None)
        self._real: dict[str, str] = {}
        self._names: dict[Path, dict[str, str]] = {}

    def place(self, name: str) -> Place:
        """Return where `name` leads; a name that nothing answers to is returned as it is.

        Raises: DataError as `resolve_inside` does.
        """
        self._check_text(name)
        for candidate, note in _readings(name):
            path = self._contained(candidate, name)
            if os.path.lexists(path):
                return Place(path, note)
        path = self._contained(name.replace("\\", "/"), name)
        return self._nearly(path, name)

    def _check_text(self, name: str) -> None:
        """Refuse what no relative path looks like."""
        if not name or "\0" in name:
            raise self._refusal(name, "path-empty", "is empty or holds a NUL", "name a file below the data folder")
        if URL.match(name):
            raise self._refusal(name, "path-url", "is a URL", "download the picture, and name the file")
        absolute = name.startswith(("/", "\\")) or DRIVE.match(name)
        if absolute and (len(self.allowed) == 1 or not os.path.isabs(name)):
            raise self._refusal(
                name, "path-absolute", "is absolute", "make it relative, or allow its folder (--allow-outside ROOT)"
            )

    def _contained(self, candidate: str, name: str) -> Path:
        """Join and follow links; refuse what ends up elsewhere."""
        path = self.root / candidate
        parent = str(path.parent)
        try:
            if parent not in self._real:
                self._real[parent] = os.path.realpath(parent)
            real = os.path.join(self._real[parent], path.name)
            if path.name == ".." or os.path.islink(real):
                real = os.path.realpath(real)
        except (OSError, ValueError) as error:
            raise self._refusal(name, "path-invalid", f"is no path: {error}", "rename the file") from None
        if not any(real == base or real.startswith(base.rstrip(os.sep) + os.sep) for base in self.allowed):
            raise self._refusal(
                name,
                "path-outside",
                f"leads outside {escape(str(self.root))}",
                "move the file inside, or allow its folder (--allow-outside ROOT)",
            )
        return path

    def _nearly(self, path: Path, name: str) -> Place:
        """Look for another Unicode form of a missing name or of its folders; refuse one that differs by case only."""
        try:
            steps = path.relative_to(self.root).parts
        except ValueError:
            return Place(path)
        place = self.root
        for step in steps:
            if os.path.lexists(place / step):
                place = place / step
                continue
            known = self._listing(place)
            form = known.get("form:" + unicodedata.normalize("NFC", step))
            other = known.get("case:" + unicodedata.normalize("NFC", step).casefold())
            if form is not None:
                place = place / form
            elif other is None:
                return Place(path)
            else:
                raise self._refusal(
                    name,
                    "path-case",
                    "differs from a file's name by upper and lower case",
                    f"did you mean {escape(other)!r}? Rename one of them",
                )
        return Place(path) if place == path else self._settled(place, name)

    def _settled(self, place: Path, name: str) -> Place:
        """Return a place that was found by other names, once it is known where it really lies."""
        self._contained(str(place.relative_to(self.root)), name)
        return Place(place, "another Unicode form of the name")

    def _listing(self, folder: Path) -> dict[str, str]:
        """Return the names in `folder`, under their composed and their caseless forms."""
        if folder not in self._names:
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                names = []
            entries: dict[str, str] = {}
            for entry in names:
                composed = unicodedata.normalize("NFC", entry)
                entries.setdefault("form:" + composed, entry)
                entries.setdefault("case:" + composed.casefold(), entry)
            self._names[folder] = entries
        return self._names[folder]

    def _refusal(self, name: str, code: str, reason: str, hint: str) -> DataError:
        shown = escape(name if len(name) <= 120 else name[:117] + "...")
        return DataError(escape(str(self.root)), f"file name {shown!r}", code, reason, hint)


def _readings(name: str) -> list[tuple[str, str]]:
    """Return the ways to read `name`, the literal one first."""
    ways = [(name, "")]
    if "\\" in name:
        ways.append((name.replace("\\", "/"), "Windows separators"))
    if "%" in name:
        decoded = unquote(name)
        if decoded != name and "\0" not in decoded and not decoded.startswith(("/", "\\")):
            ways.append((decoded, "percent-encoded"))
    return ways


def nearest_name(name: str, known: Sequence[str]) -> str:
    """Return a sentence with the most similar of `known`, or an empty string."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {escape(close[0])!r}? " if close else ""


def open_regular(path: Path) -> int:
    """Open a regular file for reading and return its descriptor; a FIFO or device is never waited for.

    Raises: DataError for anything else than a regular, readable file.
    """
    flags = os.O_RDONLY
    for extra in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):  # not every system has all of them
        flags |= getattr(os, extra, 0)
    shown = escape(str(path))
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise DataError(
            shown, "", "file-missing", "there is no such file", "restore it, or remove its record"
        ) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DataError(
            shown, "", "file-unreadable", f"cannot be opened: {reason}", "check the path and its permissions"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(shown, "", "file-not-regular", "is not a regular file", "replace it by a real file")
    return descriptor
