"""A Ray to work in: one that runs already, or one of our own, which no other machine can reach."""

import contextlib
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from spnas.errors import UsageError
from spnas.runs import gpus

_STORE_MIB = 256  # for the files under way; what does not fit is kept on disk by Ray
_SECONDS_TO_ANSWER = 10
_LONGEST_FOLDER = 40  # Ray's sockets lie in it, and their paths may have 107 characters
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # the name is odd, it holds for Linux too
# Ray reads these as it is imported and started. Under `uv run`, its workers are not to be started by `uv run` too.
_ALWAYS = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
# For a Ray of our own: no report to its makers, listen on the loopback interface only, and leave CUDA_VISIBLE_DEVICES
# alone for workers that ask for no GPU.
ALONE = _ALWAYS | {"RAY_USAGE_STATS_ENABLED": "0", _LOOPBACK: "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def connect(
    address: str | None, *, workers: int, cpus_per_worker: float, gpus_per_worker: float | None
) -> Callable[[], None]:
    """Connect this process to the Ray at `address` and return how to leave it again.

    Where this process is connected already, that connection is used and is left as it is. Without an address (nor
    RAY_ADDRESS, which Ray's own job runners set), a Ray is started that has room for the workers and ends with this
    process at the latest.

    Raises: UsageError when Ray is not installed or does not answer, or when this machine has too few GPUs.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address and address.startswith("ray://"):
        raise UsageError(f"{address}: Ray's client protocol is not supported; run the command on a node of the cluster")
    local = address in (None, "local")
    if local and gpus_per_worker is not None:
        gpus.share(gpus.visible(), workers=workers, gpus_per_worker=gpus_per_worker)
    by_user = _LOOPBACK in os.environ
    with _environment(ALONE if local else _ALWAYS), _signals_kept():
        ray = imported()
        if ray.is_initialized():
            return lambda: None
        _keep_stdout(ray)
        if not local:
            _join(ray, str(address))
            return lambda: ray.shutdown()
        folder = tempfile.mkdtemp(prefix="spnas-ray-", dir=_short_folder())

        def leave() -> None:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)

        try:
            ray.init(
                address="local",
                num_cpus=math.ceil(workers * cpus_per_worker),
                num_gpus=len(gpus.visible()) if gpus_per_worker else 0,
                object_store_memory=_STORE_MIB * 2**20,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address="127.0.0.1",
                _temp_dir=f"{folder}/ray",  # Ray opens its folder to all users; the one around it stays ours
            )
            if not by_user and ray.util.get_node_ip_address() != "127.0.0.1":
                raise UsageError(
                    "ray was imported before spnas could keep it off the network; import it later, or call ray.init "
                    f"before, or set {_LOOPBACK}=0"
                )
        except BaseException:  # Ctrl-C too: nothing may stay behind
            leave()
            raise
    return leave


def imported() -> ModuleType:
    """Return the package `ray`.

    Raises: UsageError when it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about itself
            import ray
    except ImportError as fault:
        raise UsageError(f'the executor "ray" needs Ray ({fault}); pip install "spnas[ray]"') from None
    return ray


def _join(ray: ModuleType, address: str) -> None:
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as fault:
        said = " ".join(str(fault).split())
        raise UsageError(f"{address}: no Ray can be joined there ({said}); start one with 'ray start --head'") from None


def _knock(address: str) -> None:
    """Find out in seconds whether somebody listens; Ray itself tries for minutes.

    Raises: OSError.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()


def _keep_stdout(ray: ModuleType) -> None:
    """Have Ray's warnings go to stderr, one line each: it prints them to stdout, which is for results.

    There is no public way; a Ray without this function prints them where it likes.
    """
    worker = ray._private.worker
    if (show := getattr(worker, "print_to_stdstream", None)) and show.__module__ == worker.__name__:

        def show_on_stderr(data: dict[str, Any], *rest: Any, **named: Any) -> None:
            lines = [line.splitlines()[0] for line in data["lines"] if line.strip()]
            show(data | {"is_err": True, "lines": lines}, *rest, **named)

        worker.print_to_stdstream = show_on_stderr


def _short_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) <= _LONGEST_FOLDER else "/tmp"


@contextlib.contextmanager
def _environment(added: dict[str, str]) -> Iterator[None]:
    """Hand variables on to what is started inside the block; what the user has set stands."""
    new = {name: value for name, value in added.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Undo that Ray puts a handler of its own on SIGTERM, which would hide ours."""
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
