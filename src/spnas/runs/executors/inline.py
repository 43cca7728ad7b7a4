"""Work is done in the caller's own process inside `submit`: for debugging, and for tests."""

from concurrent.futures import Future

from spnas.runs.executors import Executor, MakeWork, Work, do, failure


def open(
    make_work: MakeWork,
    folder: str,
    *,
    workers: int = 1,
    seconds_limit: float | None = None,
    mib_limit: float | None = None,
    threads: int = 1,
    gpus_per_worker: float | None = None,
    address: str | None = None,
) -> Executor:
    """Do every job at once in this process, which sees all GPUs; none of the options has a meaning here."""
    del workers, seconds_limit, mib_limit, threads, gpus_per_worker, address
    return _Inline(make_work, folder)


class _Inline:
    def __init__(self, make_work: MakeWork, folder: str) -> None:
        self._make_work, self._folder = make_work, folder
        self._work: Work | None = None
        self._closed = False

    def submit(self, job: bytes) -> Future[bytes]:
        if self._closed:
            raise RuntimeError("the executor is closed")
        future: Future[bytes] = Future()
        future.set_running_or_notify_cancel()
        try:
            if self._work is None:
                self._work = self._make_work(self._folder)
            future.set_result(do(self._work, job))
        except (Exception, SystemExit) as fault:
            future.set_exception(failure(fault))
        return future

    def close(self, *, kill: bool = False) -> None:
        del kill
        self._closed = True
