"""Workers are placed on the machines of a Ray cluster, or on this one.

Ray places workers, gives them GPUs and carries bytes. What happens to a job is ours: on its machine a worker keeps a
child as `process` does, with its limits and its reasons, and Ray's own retries are off.
"""

import collections
import contextlib
import logging
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from spnas.runs import cluster, files, gpus, memory
from spnas.runs.executors import Executor, MakeWork, WorkerDied, WorkFailed, failure, files_of, name_of
from spnas.runs.parcels import Parcel, Parcels
from spnas.runs.remote import DIED, DONE, Answer, Order, Words, Worker

SEND_FILES = "SPNAS_RAY_SEND_FILES"  # set it to 1 to send files even to workers that see the folder
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_END = 1.0
_SECONDS_BEFORE_ANOTHER = 1.0
_SECONDS_UNTIL_TOLD = 30.0
_MOST_LOSSES_IN_A_ROW = 3
_LONGEST_REASON = 300
_NUMBER = re.compile(r" [0-9a-f]{16,}\b")  # of an actor or a node


def open(
    make_work: MakeWork,
    folder: str,
    *,
    workers: int,
    seconds_limit: float | None = None,
    mib_limit: float | None = None,
    threads: float = 1,
    gpus_per_worker: float | None = None,
    address: str | None = None,
) -> Executor:
    """Place up to `workers` workers in the Ray at `address`, as many as there is room for; the others follow.

    seconds_limit, mib_limit: as with `process`, without the time it takes to send files.
    threads: the CPUs that Ray counts for a worker, also a share of one; numerics use as many threads, at least one.
    gpus_per_worker: the GPUs that Ray counts for a worker and shows it: a whole number, or a share of one.
    address: `auto` or `HOST:PORT` of a Ray that runs already; without it see `runs.cluster.connect`.
    Raises: ValueError as `process` does; UsageError when Ray is absent or does not answer, when this machine has too
    few GPUs, or when memory cannot be measured.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers; at least 1 is needed")
    module, name = name_of(make_work)
    if gpus_per_worker is not None:
        gpus.check(gpus_per_worker)
    if mib_limit is not None:
        memory.check_measurable()
    search_path = list(sys.path)  # before Ray, which adds to it, is imported
    leave = cluster.connect(address, workers=workers, cpus_per_worker=threads, gpus_per_worker=gpus_per_worker)
    token = Path(folder, files.TEMPORARY.replace("*", f"ray-{secrets.token_hex(8)}"))

    def close() -> None:
        token.unlink(missing_ok=True)
        leave()

    try:
        if os.environ.get(SEND_FILES) != "1" and token.parent.is_dir():
            files.write_atomic(token, b"")
        order = Order(
            module=module,
            name=name,
            folder=folder,
            token=token.name if token.parent.is_dir() else None,
            seconds_limit=seconds_limit,
            mib_limit=mib_limit,
            threads=max(1, int(threads)),
            search_path=search_path,
        )
        needs = {"num_cpus": threads, "num_gpus": gpus_per_worker or 0}
        return _Crew(cluster.imported(), order, needs, workers=workers, leave=close)
    except BaseException:
        close()
        raise


class _Jobs:
    """The jobs that wait, in the order they came."""

    def __init__(self) -> None:
        self._waiting: collections.deque[tuple[bytes, Future[bytes]]] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job: bytes, future: Future[bytes]) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeError("the executor is closed")
            self._waiting.append((job, future))
            self._changed.notify()

    def put_back(self, job: bytes, future: Future[bytes]) -> None:
        with self._changed:
            self._waiting.appendleft((job, future))
            self._changed.notify()

    def take(self, *, wait: bool = True) -> tuple[bytes, Future[bytes]] | None:
        """Wait for a job; None when there will be none, or when there is none to `wait` for."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._waiting or self._closed)
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def over(self) -> bool:
        with self._changed:
            return self._closed and not self._waiting

    def cancel(self) -> None:
        with self._changed:
            while self._waiting:
                _, future = self._waiting.popleft()
                future.cancel()
                future.set_running_or_notify_cancel()


class _Crew:
    """One thread per worker places it, moves jobs and results, and places another one when it is lost."""

    def __init__(
        self, ray: ModuleType, order: Order, needs: dict[str, float], *, workers: int, leave: Callable[[], None]
    ) -> None:
        self._ray, self._needs, self._leave = ray, needs, leave
        options = {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 2, "scheduling_strategy": "SPREAD"}
        self._actor, self._order = ray.remote(**options, **needs)(Worker), msgspec.json.encode(order)
        self._parcels = Parcels(ray, Path(order.folder))
        self._jobs, self._kill = _Jobs(), threading.Event()
        self._places, self._told, self._changing = 0, False, threading.Lock()
        self._threads = [threading.Thread(target=self._serve, name=f"ray-{i}", daemon=True) for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: bytes) -> Future[bytes]:
        future: Future[bytes] = Future()
        self._jobs.put(job, future)
        return future

    def close(self, *, kill: bool = False) -> None:
        if kill:
            self._kill.set()
            self._jobs.cancel()
        self._jobs.close()
        for thread in self._threads:
            thread.join()
        self._jobs.cancel()  # what was put back meanwhile
        leave, self._leave = self._leave, lambda: None
        leave()

    def _serve(self) -> None:
        placed: _Placed | None = None
        while (placed := placed or self._placed()) and (item := self._jobs.take()):
            job, future = item
            if not placed.alive():  # lost between two jobs, which is not this job's fault
                self._jobs.put_back(job, future)
                self._lose(placed)
                placed = None
            elif future.set_running_or_notify_cancel():
                try:
                    sent = [] if placed.shared else self._parcels.for_job(job)
                    future.set_result(self._kept(placed.do(job, sent)))
                except _Lost as fault:
                    self._lose(placed)
                    placed = None
                    future.set_exception(WorkerDied(str(fault)))
                except (WorkFailed, WorkerDied) as fault:
                    future.set_exception(fault)
                except Exception as fault:  # of the files: the disk is full, or a file is not what was written
                    future.set_exception(failure(fault))
            del job, future, item
        if placed:
            placed.end()

    def _placed(self) -> "_Placed | None":
        """Wait until Ray has a place for a further worker; None when it is no longer needed."""
        losses = 0
        while not self._over():
            placed = None
            try:
                placed = _Placed(self._ray, self._actor.remote(self._order), self._kill)
                if placed.wait(self._over, self._tell):
                    with self._changing:
                        self._places, self._told = self._places + 1, False
                    return placed
            except Exception as fault:  # a thread that ended here would leave its jobs waiting for ever
                losses += 1
                if losses % _MOST_LOSSES_IN_A_ROW == 0:
                    self._fail_for_want_of_workers(" ".join(str(fault).split()))
                self._kill.wait(_SECONDS_BEFORE_ANOTHER)
            if placed:
                placed.end()
        return None

    def _lose(self, placed: "_Placed") -> None:
        placed.end()
        with self._changing:
            self._places -= 1

    def _fail_for_want_of_workers(self, reason: str) -> None:
        """Fail a job unless other workers are there to do it; a fault of the place, it ends a study."""
        with self._changing:
            item = None if self._places else self._jobs.take(wait=False)
        if item and item[1].set_running_or_notify_cancel():
            words = f"Ray could not start a worker {_MOST_LOSSES_IN_A_ROW} times in a row ({reason})"
            item[1].set_exception(WorkFailed(words, kind="ResourceError", traceback=words))

    def _over(self) -> bool:
        return self._kill.is_set() or self._jobs.over()

    def _tell(self) -> None:
        """Say once that all jobs wait, which may be meant where a cluster grows by itself."""
        with self._changing:
            tell = not self._told and not self._places
            self._told = self._told or tell
        if tell:
            has = {name: amount for name, amount in self._ray.cluster_resources().items() if name in ("CPU", "GPU")}
            said = f"Ray has no place for a worker yet: each needs {self._needs}, {has} are there in all; waiting"
            logging.getLogger(__name__).warning(said)

    def _kept(self, answer: Answer) -> bytes:
        """Put the files of an answer into the study's folder and return the result.

        Raises: WorkFailed, WorkerDied; IntegrityError, ResourceError where a file cannot be kept.
        """
        how, said, data = answer
        if how == DIED:
            raise WorkerDied(said.decode())
        if how != DONE:
            words = msgspec.json.decode(said, type=Words)
            raise WorkFailed(words.message, kind=words.kind, traceback=words.traceback)
        if data:
            self._parcels.keep(files_of(said), data)
        return said


class _Lost(Exception):
    """Ray says that an actor is no longer there; the message says why."""


class _Placed:
    """One actor, which may wait for its place, be at work, or be lost at any moment."""

    def __init__(self, ray: ModuleType, actor: Any, kill: threading.Event) -> None:
        self._ray, self._actor, self._kill = ray, actor, kill
        self.shared = False

    def wait(self, over: Callable[[], bool], tell: Callable[[], None]) -> bool:
        """Wait for its place and say whether it has one, or whether it is `over` before; `tell` that it takes long.

        Raises: _Lost.
        """
        began, first = time.monotonic(), self._actor.shares.remote()
        while not self._there(first):
            if over():
                return False
            if time.monotonic() - began > _SECONDS_UNTIL_TOLD:
                tell()
        self.shared = self._got(first)
        return True

    def alive(self) -> bool:
        try:
            self._answer(self._actor.shares.remote())
        except (_Lost, WorkerDied):
            return False
        return True

    def do(self, job: bytes, sent: list[Parcel]) -> Answer:
        """Do a job.

        Raises: _Lost; WorkerDied when everything is to stop.
        """
        answer: Answer = self._answer(self._actor.do.remote(job, sent))
        return answer

    def end(self) -> None:
        """End the worker's child in order, so that what it started ends too, and then the actor."""
        with contextlib.suppress(Exception):  # it may be gone, and Ray with it
            self._ray.wait([self._actor.end.remote()], timeout=_SECONDS_TO_END)
            self._ray.kill(self._actor)

    def _answer(self, reference: Any) -> Any:
        while not self._there(reference):
            if self._kill.is_set():
                raise WorkerDied("killed, since the study is being stopped")
        return self._got(reference)

    def _there(self, reference: Any) -> bool:
        with self._losses():
            return bool(self._ray.wait([reference], timeout=_SECONDS_BETWEEN_LOOKS)[0])

    def _got(self, reference: Any) -> Any:
        with self._losses():
            return self._ray.get(reference)

    @contextlib.contextmanager
    def _losses(self) -> Iterator[None]:
        try:
            yield
        except (self._ray.exceptions.RayError, ConnectionError, RuntimeError) as fault:
            raise _Lost(f"the worker was lost: {_reason(fault)}") from None


def _reason(fault: Exception) -> str:
    """Return what Ray says of a loss in one line, without its numbers and its advice."""
    lines = [line.strip() for line in str(fault).splitlines() if not line.startswith("\t")]
    said = " ".join(line for line in lines[1:] or lines if line).split("Some common causes")[0].strip()
    said = _NUMBER.sub("", said)
    return said if len(said) <= _LONGEST_REASON else said[:_LONGEST_REASON] + "..."
