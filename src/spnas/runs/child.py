"""The other end of `executors.process`: a child that does jobs until its parent is gone."""

import contextlib
import importlib
import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

from spnas.runs.executors import Work, do, failure

TAKEN, DONE, FAILED = b"*", b"+", b"-"  # how what goes up the pipe begins
_SECONDS_BETWEEN_LOOKS = 0.5


def main(arguments: Sequence[str]) -> None:
    """Serve the pipe given by `arguments`: its file, the parent, the work's module, name and folder."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    file, parent, module, name, folder = arguments
    connection = Connection(int(file))
    os.set_inheritable(connection.fileno(), False)
    # What the work forks must not keep the pipe open after this process has died.
    os.register_at_fork(after_in_child=connection.close)
    threading.Thread(target=_die_with, args=(int(parent),), daemon=True).start()
    work: Work | None = None
    with contextlib.suppress(Exception, SystemExit):  # what fails is done, and told, again with the first job
        work = getattr(importlib.import_module(module), name)(folder)
    with contextlib.suppress(EOFError, OSError):
        while True:
            job = connection.recv_bytes()
            connection.send_bytes(TAKEN)
            try:
                if work is None:
                    work = getattr(importlib.import_module(module), name)(folder)
                answer = DONE + do(work, job)
            except (Exception, SystemExit) as fault:
                said = failure(fault)
                words = {"message": str(said), "kind": said.kind, "traceback": said.traceback}
                answer = FAILED + json.dumps(words).encode()
            connection.send_bytes(answer)
    _end()


def _die_with(parent: int) -> None:
    """End this process, and what it started, soon after its parent has ended."""
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    _end()


def _end() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
