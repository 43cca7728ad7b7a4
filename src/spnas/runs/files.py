"""Files that are as before or as after, whatever happens in between, and that can be told from damaged ones."""

import contextlib
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from spnas.errors import IntegrityError, ResourceError, UsageError

TEMPORARY = ".spnas-*.tmp"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG)


@contextlib.contextmanager
def faults_named(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses inside the block into a sentence about `path`.

    Raises: ResourceError when the disk is full or fails, UsageError when `path` may not be written.
    """
    try:
        yield
    except OSError as fault:
        reason = os.strerror(fault.errno) if fault.errno else str(fault)
        if fault.errno in _DISK_FULL:
            raise ResourceError(
                f"{path}: cannot be written ({reason}); free some space, then run the same command again"
            ) from fault
        if fault.errno == errno.EIO:
            raise ResourceError(
                f"{path}: the storage failed ({reason}); check the disk, then run the same command again"
            ) from fault
        if fault.errno in _NOT_ALLOWED:
            raise UsageError(f"{path}: cannot be written ({reason}); choose a folder you may write to") from fault
        raise


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, only ever meets the old bytes or the new ones.

    Raises: ResourceError, UsageError (see `faults_named`); the old file is intact then.
    """
    temp = _temporary(path)
    with faults_named(path), _removed_on_failure(temp):
        file = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(temp, path)
        sync_folder(path.parent)


def commit_file(temp: Path, path: Path) -> None:
    """Put a finished file, written by another library into the same file system, in its place.

    Raises: ResourceError, UsageError (see `faults_named`); the old file is intact then.
    """
    with faults_named(path), _removed_on_failure(temp):
        _sync(temp)
        os.replace(temp, path)
        sync_folder(path.parent)


def publish_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Replace a whole folder by the one that `write` fills, which nobody sees before it is complete.

    A folder cannot be renamed over another one; a crash between the two renames is mended by `mend_folder`.
    Raises: ResourceError, UsageError (see `faults_named`), and what `write` raises; the old folder is intact.
    """
    new, old = _beside(path)
    with faults_named(path):
        mend_folder(path)
        new.mkdir(parents=True)
        try:
            write(new)
            for folder, _, names in os.walk(new):
                for name in names:
                    _sync(Path(folder, name))
                sync_folder(Path(folder))
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
        sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)


def mend_folder(path: Path) -> list[Path]:
    """Put the old folder back where a crash left none, remove what is half written, and return what was removed."""
    new, old = _beside(path)
    if old.exists() and not path.exists():
        os.replace(old, path)
    removed = [rest for rest in (new, old) if rest.exists()]
    for rest in removed:
        shutil.rmtree(rest)
    return removed


def sha256(path: Path) -> str:
    """Return the hash of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checked(path: Path, sha256: str) -> bytes:
    """Read a file of ours.

    Raises: IntegrityError naming the file when it is missing or not what was written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise IntegrityError(f"{path}: is missing; restore it from a backup, or begin a new study") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise IntegrityError(
            f"{path}: its SHA-256 is {found[:12]}..., {sha256[:12]}... was written; "
            "the file was changed or damaged: restore it from a backup, or begin a new study"
        )
    return data


def resolve_inside(root: Path, name: str) -> Path:
    """Return the path of `name`, which came from a file, inside of `root`.

    Raises: IntegrityError when it leads outside.
    """
    if not name or "\0" in name or not (path := (root / name).resolve()).is_relative_to(root.resolve()):
        raise IntegrityError(f"{root}: the file name {name!r} in it leads outside; do not use this study")
    return path


def sync_folder(folder: Path) -> None:
    """Make the names inside `folder` outlive a power cut."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _temporary(path: Path) -> Path:
    return path.with_name(TEMPORARY.replace("*", f"{os.getpid()}-{threading.get_ident()}"))


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")


@contextlib.contextmanager
def _removed_on_failure(temp: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temp)
        raise
