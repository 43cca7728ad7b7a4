"""A shelf of ways to get work done: each module has an `open` that returns an `Executor`.

All of them are opened alike:

    open(make_work, folder, *, workers, seconds_limit=None, mib_limit=None, threads=1, gpus_per_worker=None,
         address=None)

and each says what has no meaning for it. Jobs and results are JSON. Where workers do not see the folder of the study,
the files that a job needs are brought to them and those that its result names are brought back (see `Files`).
"""

import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

import msgspec

Work = Callable[[bytes], bytes]  # job to result, both JSON
MakeWork = Callable[[str], Work]  # a top-level function of an importable module, called with `folder` by the worker


class Executor(Protocol):
    """Does jobs, as many at once as it has workers; the others wait in the order they came."""

    def submit(self, job: bytes) -> Future[bytes]:
        """Return the future of the result; a job that fails raises WorkFailed or WorkerDied there."""
        ...

    def close(self, *, kill: bool = False) -> None:
        """Wait for all jobs, or with `kill` give them up at once; either way no worker is left."""
        ...


class FileRef(msgspec.Struct, frozen=True):
    """A file in the folder of the study, by its name there such as `weights/00000.safetensors`, and what is in it."""

    name: str
    sha256: str


class Files(msgspec.Struct, frozen=True):
    """What a job says of the files it needs, or a result of those it made; whatever else they say is passed over."""

    files: tuple[FileRef, ...] = ()


def files_of(message: bytes) -> tuple[FileRef, ...]:
    """Return the files that a job or a result speaks of: none unless it is a JSON object.

    Raises: msgspec.DecodeError when it is an object that cannot be read.
    """
    return msgspec.json.decode(message, type=Files).files if message.lstrip().startswith(b"{") else ()


def name_of(make_work: MakeWork) -> tuple[str, str]:
    """Return the module and the name by which a worker finds `make_work`.

    Raises: ValueError when it is not a top-level function of an importable module.
    """
    if make_work.__module__ == "__main__" or "." in make_work.__qualname__:
        raise ValueError(f"{make_work!r} cannot be found by name; use a top-level function of an importable module")
    return make_work.__module__, make_work.__qualname__


class WorkFailed(Exception):
    """The work raised an exception: the message is one line, `kind` its type's name, `traceback` all of it."""

    def __init__(self, message: str, *, kind: str, traceback: str) -> None:
        super().__init__(message)
        self.kind, self.traceback = kind, traceback


class WorkerDied(Exception):
    """The worker ended, or was ended, before there was a result; the message says why."""


def failure(fault: BaseException) -> WorkFailed:
    """Put into words what went wrong in the work, and where."""
    kind = type(fault).__name__
    said = " ".join(str(fault).split())
    frames = traceback.extract_tb(fault.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    whole = "".join(traceback.format_exception(fault))
    return WorkFailed(f"{kind}: {said}{where}" if said else f"{kind}{where}", kind=kind, traceback=whole)


def do(work: Work, job: bytes) -> bytes:
    """Do one job.

    Raises: TypeError when the result is not bytes, and whatever the work raises.
    """
    result = work(job)
    if not isinstance(result, bytes):
        raise TypeError(f"the work returned {type(result).__name__}; a result is bytes of JSON")
    return result
