"""The other end of `executors.ray`: what a Ray actor runs, on whatever machine it was placed."""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from spnas.errors import IntegrityError
from spnas.runs import files
from spnas.runs.executors import Executor, FileRef, WorkerDied, WorkFailed, failure, files_of, process
from spnas.runs.folder import RunFolder
from spnas.runs.parcels import Parcel, check

DONE, FAILED, DIED = "done", "failed", "died"
Answer = tuple[str, bytes, list[bytes]]  # how it went; the result, or what went wrong; the files of the result


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to be; `token` is a file that is in `folder` where that is the driver's own folder."""

    module: str
    name: str
    folder: str
    token: str | None
    seconds_limit: float | None
    mib_limit: float | None
    threads: int
    search_path: list[str]


class Words(msgspec.Struct, frozen=True):
    """A WorkFailed on its way to the driver."""

    message: str
    kind: str
    traceback: str


class Worker:
    """Does jobs in a child of its own, as `process` does, which keeps the work from job to job.

    Where the folder of the study is not to be seen, a folder of its own holds the study's settings and, while it is
    done, the files of one job.
    """

    def __init__(self, order: bytes) -> None:
        self._order = msgspec.json.decode(order, type=Order)
        self.shared = self._order.token is None or Path(self._order.folder, self._order.token).exists()
        self._folder = self._order.folder if self.shared else tempfile.mkdtemp(prefix="spnas-")
        if not self.shared:
            RunFolder(self._folder).weights(0).parent.mkdir()  # as in every study
        self._executor: Executor | None = None

    def shares(self) -> bool:
        """Say, once the worker has its place, whether it sees the driver's folder."""
        return self.shared

    def do(self, job: bytes, sent: list[Parcel]) -> Answer:
        """Do one job, after what was `sent` has been put in place."""
        try:
            for parcel in sent:
                self._put(*parcel)
            self._executor = self._executor or self._open()
            result = self._executor.submit(job).result()
            refs = () if self.shared else files_of(result)
            try:
                return DONE, result, [files.read_checked(self._path(ref), ref.sha256) for ref in refs]
            finally:
                self._clear({ref.name for ref in refs})
        except WorkerDied as fault:
            return DIED, str(fault).encode(), []
        except Exception as fault:
            said = fault if isinstance(fault, WorkFailed) else failure(fault)
            return FAILED, msgspec.json.encode(Words(str(said), said.kind, said.traceback)), []
        finally:
            self._clear({name for name, _, _ in sent} - {"study.json"})

    def end(self) -> None:
        """End the child and what it started; whatever it is doing is given up."""
        if self._executor is not None:
            self._executor.close(kill=True)
        if not self.shared:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self) -> Executor:
        order = self._order
        here = [place for place in order.search_path if os.path.exists(place or ".")]
        return process.open_by_name(
            order.module,
            order.name,
            self._folder,
            workers=1,
            seconds_limit=order.seconds_limit,
            mib_limit=order.mib_limit,
            threads=order.threads,
            gpus_seen=None,  # Ray has set them for this process
            search_path=[*here, *(place for place in sys.path if place not in here)],
        )

    def _put(self, name: str, sha256: str, reference: Any) -> None:
        import ray

        ref = FileRef(name, sha256)
        path = self._path(ref)
        if path.exists() and files.sha256(path) == ref.sha256:
            return
        data = ray.get(reference)
        check(ref, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, data)

    def _path(self, ref: FileRef) -> Path:
        return files.resolve_inside(Path(self._folder), ref.name)

    def _clear(self, names: set[str]) -> None:
        for name in names:
            with contextlib.suppress(OSError, IntegrityError):
                files.resolve_inside(Path(self._folder), name).unlink()
