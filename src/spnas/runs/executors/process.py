"""Every worker is a child process of its own that lives on from job to job.

A spare child is started in advance while there are slots: importing and opening the data take seconds, in which the
root trains anyway. A job that brings its process down (out of memory, a fault in native code, a hang) is one failed
job: the slot starts a fresh child. Jobs and results go through a pipe as bytes; nothing is pickled.
"""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection

from spnas.runs import gpus, memory
from spnas.runs.child import DONE, TAKEN
from spnas.runs.executors import Executor, MakeWork, WorkerDied, WorkFailed, name_of

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_BE_KILLED = 2.0
SPARE = "spare"  # what tells an idle slot to start its child
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# Tensors come and go at every step: glibc is to keep their memory, not to give it back and fault it in again.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from spnas.runs.child import main; main(sys.argv[2:])"
)
_GUESSES = {
    signal.SIGKILL: ", perhaps out of memory",
    signal.SIGSEGV: ", a fault in native code",
    signal.SIGBUS: ", perhaps /dev/shm is full",
}


def open(
    make_work: MakeWork,
    folder: str,
    *,
    workers: int,
    seconds_limit: float | None = None,
    mib_limit: float | None = None,
    threads: int = 1,
    gpus_per_worker: float | None = None,
    address: str | None = None,
) -> Executor:
    """Open `workers` slots, whose children are started as they are needed; `address` has no meaning here.

    seconds_limit: a job that takes longer is ended, together with its child.
    mib_limit: likewise when the child and what it started hold more memory, looked at ten times a second.
    threads: how many of them a child uses for numerics.
    gpus_per_worker: how many of the visible GPUs a child sees, see `runs.gpus.share`; None leaves all of them visible.
    Raises: ValueError when `make_work` is not a top-level function of an importable module; UsageError when there
    are fewer GPUs, or when memory is limited where it cannot be measured.
    """
    del address
    if workers < 1:
        raise ValueError(f"{workers} workers; at least 1 is needed")
    seen = None
    if gpus_per_worker is not None:
        seen = gpus.share(gpus.visible(), workers=workers, gpus_per_worker=gpus_per_worker)
    return open_by_name(
        *name_of(make_work),
        folder,
        workers=workers,
        seconds_limit=seconds_limit,
        mib_limit=mib_limit,
        threads=threads,
        gpus_seen=seen,
        search_path=sys.path,
    )


def open_by_name(
    module: str,
    name: str,
    folder: str,
    *,
    workers: int,
    seconds_limit: float | None,
    mib_limit: float | None,
    threads: int,
    gpus_seen: Sequence[str] | None,
    search_path: Sequence[str],
) -> Executor:
    """Open the slots for a function that need not be importable in this process, only in its children.

    gpus_seen: CUDA_VISIBLE_DEVICES of every child.
    search_path: where the children look for modules.
    Raises: UsageError when memory is limited where it cannot be measured.
    """
    if mib_limit is not None:
        memory.check_measurable()
    environment = {**_KEEP_MEMORY, **os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
    environments = [environment] * workers
    if gpus_seen is not None:
        environments = [environment | {gpus.VARIABLE: devices} for devices in gpus_seen]
    arguments = [json.dumps(list(search_path)), module, name, folder]
    return _Slots(arguments, environments, seconds_limit=seconds_limit, mib_limit=mib_limit)


class _Slots:
    """One thread per slot moves jobs and results; everything that concerns a child is done by its thread."""

    def __init__(
        self,
        arguments: list[str],
        environments: list[dict[str, str]],
        *,
        seconds_limit: float | None,
        mib_limit: float | None,
    ) -> None:
        self._arguments, self._seconds_limit, self._mib_limit = arguments, seconds_limit, mib_limit
        self._jobs: queue.SimpleQueue[tuple[bytes, Future[bytes]] | str | None] = queue.SimpleQueue()
        self._flying, self._begun = 0, 0  # jobs that are not done; slots that have a child, or are told to start one
        self._closed, self._closing, self._kill = False, threading.Lock(), threading.Event()
        self._threads = [
            threading.Thread(target=self._serve, args=(environment,), name=f"slot-{i}", daemon=True)
            for i, environment in enumerate(environments)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: bytes) -> Future[bytes]:
        future: Future[bytes] = Future()
        with self._closing:
            if self._closed:
                raise RuntimeError("the executor is closed")
            self._jobs.put((job, future))
            self._flying += 1
            self._begun = max(self._begun, min(self._flying, len(self._threads)))
            if self._begun < min(self._flying + 1, len(self._threads)):
                self._begun += 1
                self._jobs.put(SPARE)
        future.add_done_callback(self._landed)
        return future

    def _landed(self, _future: Future[bytes]) -> None:
        with self._closing:
            self._flying -= 1

    def close(self, *, kill: bool = False) -> None:
        if kill:
            self._kill.set()
        with self._closing:
            for _ in () if self._closed else self._threads:
                self._jobs.put(None)
            self._closed = True
        for thread in self._threads:
            thread.join()

    def _serve(self, environment: dict[str, str]) -> None:
        child: _Child | None = None
        while (item := self._jobs.get()) is not None:
            if isinstance(item, str):  # a job that comes later says why no child can be started
                with contextlib.suppress(WorkerDied):
                    child = child or _Child(self._arguments, environment)
                continue
            job, future = item
            if self._kill.is_set():
                future.cancel()
            if not future.set_running_or_notify_cancel():
                continue
            until = time.monotonic() + (self._seconds_limit or float("inf"))
            try:
                if child is None or not self._takes(child, job, until=until):
                    if child is not None:  # it died between two jobs, which is not this job's fault
                        child.end()
                    child = _Child(self._arguments, environment)
                    if not self._takes(child, job, until=until):
                        raise WorkerDied(child.why_ended())
                future.set_result(self._result(child, until=until))
            except BaseException as fault:
                future.set_exception(fault)
            del job, future, item
        if child is not None:
            child.end()

    def _takes(self, child: "_Child", job: bytes, *, until: float) -> bool:
        """Hand the job over and say whether the child was there to take it."""
        try:
            child.connection.send_bytes(job)
            return self._receive(child, until=until) == TAKEN
        except (EOFError, OSError):
            return False

    def _result(self, child: "_Child", *, until: float) -> bytes:
        """Wait for the result.

        Raises: WorkFailed, WorkerDied.
        """
        try:
            answer = self._receive(child, until=until)
        except (EOFError, OSError):
            raise WorkerDied(child.why_ended()) from None
        if answer[:1] == DONE:
            return answer[1:]
        said = json.loads(answer[1:])
        raise WorkFailed(said["message"], kind=said["kind"], traceback=said["traceback"])

    def _receive(self, child: "_Child", *, until: float) -> bytes:
        """Wait for a message.

        Raises: EOFError, OSError when the child has died; WorkerDied when it was ended from here.
        """
        while not child.connection.poll(_SECONDS_BETWEEN_LOOKS):
            # The end of the pipe does not tell of a death while something the child started holds it too.
            if not child.alive() and not child.connection.poll():
                raise EOFError
            if self._kill.is_set():
                child.end()
                raise WorkerDied("killed, since the study is being stopped")
            if time.monotonic() > until:
                child.end()
                raise WorkerDied(f"killed after {self._seconds_limit:g} seconds, the time limit of a job")
            if self._mib_limit is not None and (held := child.resident_mib()) > self._mib_limit:
                child.end()
                raise WorkerDied(f"killed at {held:.0f} MiB, the memory limit of a job is {self._mib_limit:g} MiB")
        return child.connection.recv_bytes()


class _Child:
    """A process in a group of its own: Ctrl-C passes it by, and what it started ends with it."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            search_path, *work = arguments
            where = [str(theirs.fileno()), str(os.getpid())]
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START, search_path, *where, *work],
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # ours carries results
                    env=environment,
                    pass_fds=[theirs.fileno()],
                    process_group=0,
                )
            except OSError as fault:
                raise WorkerDied(f"no worker could be started ({fault.strerror})") from None
            self.connection = Connection(ours.detach())

    def alive(self) -> bool:
        if self._process.returncode is None and self._process.poll() is not None:
            self._kill_group()
        return self._process.returncode is None

    def resident_mib(self) -> float:
        return memory.resident_mib(self._process.pid)

    def end(self) -> None:
        """Kill the child and what it started, and close the pipe."""
        if self.alive():
            self._kill_group()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_SECONDS_TO_BE_KILLED)
        self.connection.close()

    def _kill_group(self) -> None:
        """Kill the group; only while the child runs or at the moment of its death, since numbers are used again."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def why_ended(self) -> str:
        """Say in words how the child ended."""
        until = time.monotonic() + _SECONDS_TO_BE_KILLED
        while self.alive():
            if time.monotonic() > until:
                return "the worker closed its pipe without a result"
            time.sleep(_SECONDS_BETWEEN_LOOKS / 10)
        code = self._process.returncode
        if code >= 0:
            return f"the worker ended by itself with exit code {code}"
        try:
            name = signal.Signals(-code)
        except ValueError:
            return f"the worker was ended by signal {-code}"
        if name == signal.SIGKILL:
            return f"the worker was killed (signal 9){_GUESSES[name]}"
        return f"the worker was ended by {name.name} (signal {-code}){_GUESSES.get(name, '')}"
