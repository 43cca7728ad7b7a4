"""What every member of the shelf promises, and what `process` promises beyond."""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest

from spnas import shelf
from spnas.errors import UsageError
from spnas.runs import cluster, executors
from spnas.runs.executors import Executor, FileRef, MakeWork, WorkerDied, WorkFailed, files_of

WORK = """
import ctypes, json, os, signal, subprocess, sys, time

def make_work(folder):
    if folder == "broken":
        raise OSError("no such data")
    count = 0
    def work(job):
        nonlocal count
        count += 1
        match json.loads(job):
            case ["echo", value]: result = value
            case ["count"]: result = count
            case ["folder"]: result = folder
            case ["pid"]: result = os.getpid()
            case ["environment", name]: result = os.environ.get(name)
            case ["files"]:
                names = [f for f in os.listdir("/proc/self/fd") if int(f) > 2 and os.path.lexists(f"/proc/self/fd/{f}")]
                result = [os.readlink(f"/proc/self/fd/{f}") for f in names]
            case ["raise", text]: raise KeyError(text)
            case ["memory"]: raise MemoryError
            case ["leave"]: sys.exit(3)
            case ["nothing"]: return None
            case ["exit", code]: os._exit(code)
            case ["signal", number]: os.kill(os.getpid(), number)
            case ["segfault"]: ctypes.string_at(0)
            case ["sleep", seconds, path]:
                open(path, "w").write(str(os.getpid()))
                time.sleep(seconds)
                result = "slept"
            case ["hold", mib]:
                held = b"x" * (mib << 20)
                time.sleep(0.5)
                result = len(held) >> 20
            case ["hold in a child", mib]:
                program = f"import time; held = b'x' * ({mib} << 20); time.sleep(60)"
                subprocess.run([sys.executable, "-c", program])
            case ["look", seconds, name]:
                time.sleep(seconds)
                result = os.environ.get(name)
            case ["children", path]:
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
                open(path, "w").write(f"{os.getpid()} {child.pid}")
                time.sleep(60)
        return json.dumps(result).encode()
    return work
"""
PARENT = """
import sys, time
import spnas_test_work
from spnas.runs.executors import process
executor = process.open(spnas_test_work.make_work, "f", workers=1)
executor.submit(sys.argv[1].encode())
time.sleep(60)
"""
SHELF = shelf.members(executors)


LEAVE: list[Callable[[], None]] = []  # what ends the Ray that the tests share
FAULTS = [
    ('["raise", "two\\nlines"]', "KeyError", r"^KeyError: 'two\\nlines' \(spnas_test_work\.py:\d+ in work\)$"),
    ('["memory"]', "MemoryError", r"^MemoryError \("),
    ('["leave"]', "SystemExit", r"^SystemExit: 3 "),
    ('["nothing"]', "TypeError", r"the work returned NoneType; a result is bytes"),
    ("not json", "JSONDecodeError", r"^JSONDecodeError: "),
]


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    """The first test that needs Ray starts one for all of them, with room for two workers."""
    yield
    while LEAVE:
        LEAVE.pop()()


@pytest.fixture
def make_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWork]:
    """A module that parent and child can both import."""
    (tmp_path / "spnas_test_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("spnas_test_work").make_work
    del sys.modules["spnas_test_work"]


@contextlib.contextmanager
def opened(name: str, make_work: MakeWork, folder: str = "f", **options: object) -> Iterator[Executor]:
    if name == "ray":
        start_ray()
    executor = shelf.take(executors, name).open(make_work, folder, **({"workers": 1} | options))
    try:
        yield executor
    finally:
        executor.close(kill=True)


def start_ray() -> None:
    """An executor uses the Ray it finds in its process and leaves it running."""
    if not LEAVE:
        LEAVE.append(cluster.connect(None, workers=2, cpus_per_worker=1, gpus_per_worker=None))


def gone(pid: int, seconds: float = 3.0) -> bool:
    """Whether a process ends within the time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def written(path: Path) -> list[int]:
    """Wait for the numbers a job writes when it has begun."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if path.exists() and (text := path.read_text()):
            return [int(word) for word in text.split()]
        time.sleep(0.02)
    raise AssertionError(f"{path} is never written")


def ask(executor: Executor, job: str) -> Future[bytes]:
    return executor.submit(job.encode())


@pytest.mark.parametrize("name", SHELF)
def test_every_executor_returns_results(name: str, make_work: MakeWork) -> None:
    """More jobs than workers all come back, each with its own result."""
    with opened(name, make_work, workers=2) as executor:
        futures = [ask(executor, f'["echo", {i}]') for i in range(20)]
        assert [future.result(60) for future in futures] == [str(i).encode() for i in range(20)]
        assert ask(executor, '["folder"]').result(60) == b'"f"'
        big = "x" * 1_000_000
        assert ask(executor, f'["echo", "{big}"]').result(60) == f'"{big}"'.encode()


@pytest.mark.parametrize("name", SHELF)
def test_every_executor_makes_the_work_once(name: str, make_work: MakeWork) -> None:
    """What is built for the first job serves the later ones."""
    with opened(name, make_work) as executor:
        assert [ask(executor, '["count"]').result(60) for _ in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("name", SHELF)
def test_every_executor_says_what_failed(name: str, make_work: MakeWork) -> None:
    """An exception is one line and a traceback, and the next job is done as if nothing had been."""
    with opened(name, make_work) as executor:
        for done, (job, kind, said) in enumerate(FAULTS):
            with pytest.raises(WorkFailed, match=said) as failed:
                ask(executor, job).result(60)
            assert failed.value.kind == kind
            assert failed.value.traceback.startswith("Traceback (most recent call last)")
            assert "\n" not in str(failed.value)
            assert ask(executor, '["count"]').result(60) == str(2 * done + 2).encode()


@pytest.mark.parametrize("name", SHELF)
def test_every_executor_survives_work_that_cannot_be_made(name: str, make_work: MakeWork) -> None:
    """Every job then fails with the reason."""
    with opened(name, make_work, folder="broken") as executor:
        for _ in range(2):
            with pytest.raises(WorkFailed, match="OSError: no such data"):
                ask(executor, '["count"]').result(60)


@pytest.mark.parametrize("name", SHELF)
def test_every_executor_takes_no_job_after_closing(name: str, make_work: MakeWork) -> None:
    """Closing waits for the jobs at hand, may be repeated, and is final."""
    with opened(name, make_work) as executor:
        futures = [ask(executor, f'["echo", {i}]') for i in range(3)]
        executor.close()
        assert all(future.done() for future in futures)
        with pytest.raises(RuntimeError, match="the executor is closed"):
            ask(executor, '["count"]')


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (f'["signal", {signal.SIGKILL.value}]', r"killed \(signal 9\), perhaps out of memory"),
        ('["segfault"]', r"ended by SIGSEGV \(signal 11\), a fault in native code"),
        (f'["signal", {signal.SIGTERM.value}]', r"ended by SIGTERM \(signal 15\)"),
        (f'["signal", {signal.SIGBUS.value}]', r"SIGBUS .*perhaps /dev/shm is full"),
        ('["exit", 7]', "ended by itself with exit code 7"),
        ('["exit", 0]', "ended by itself with exit code 0"),
    ],
)
def test_the_death_of_a_child_is_one_failed_job(job: str, said: str, make_work: MakeWork) -> None:
    """It is told with its reason within two seconds, and a fresh child does the next job."""
    with opened("process", make_work) as executor:
        first = ask(executor, '["pid"]').result(10)
        began = time.monotonic()
        with pytest.raises(WorkerDied, match=said):
            ask(executor, job).result(10)
        assert time.monotonic() - began < 2
        assert ask(executor, '["pid"]').result(10) != first
        assert ask(executor, '["count"]').result(10) == b"2"


def test_a_child_that_dies_between_two_jobs_fails_none(make_work: MakeWork) -> None:
    """The job that finds it dead is done by a fresh one."""
    with opened("process", make_work) as executor:
        for _ in range(3):
            pid = int(ask(executor, '["pid"]').result(10))
            os.kill(pid, signal.SIGKILL)
            assert gone(pid)
            assert int(ask(executor, '["pid"]').result(10)) != pid


def test_a_job_that_hangs_is_ended_at_its_limit(make_work: MakeWork, tmp_path: Path) -> None:
    """The child is gone, the reason names the limit, the next job is done."""
    with opened("process", make_work, seconds_limit=1.0) as executor:
        future = ask(executor, f'["sleep", 60, "{tmp_path}/pid"]')
        (pid,) = written(tmp_path / "pid")
        with pytest.raises(WorkerDied, match="killed after 1 seconds, the time limit of a job"):
            future.result(4)
        assert gone(pid)
        assert ask(executor, '["count"]').result(10) == b"1"


def test_closing_by_force_leaves_nobody(make_work: MakeWork, tmp_path: Path) -> None:
    """Within three seconds the running job has failed, the waiting one is cancelled, and grandchildren are gone."""
    with opened("process", make_work) as executor:
        running = ask(executor, f'["children", "{tmp_path}/pids"]')
        waiting = ask(executor, '["count"]')
        pids = written(tmp_path / "pids")
        began = time.monotonic()
        executor.close(kill=True)
        assert time.monotonic() - began < 3
        with pytest.raises(WorkerDied, match="the study is being stopped"):
            running.result(0)
        assert waiting.cancelled()
        assert all(gone(pid) for pid in pids)


def test_a_child_that_dies_takes_its_children_along(make_work: MakeWork, tmp_path: Path) -> None:
    """A loader of a training that was killed does not live on."""
    with opened("process", make_work) as executor:
        future = ask(executor, f'["children", "{tmp_path}/pids"]')
        child, grandchild = written(tmp_path / "pids")
        os.kill(child, signal.SIGKILL)
        with pytest.raises(WorkerDied, match="signal 9"):
            future.result(3)
        assert gone(grandchild)


@pytest.mark.parametrize("job", ["hold", "hold in a child"])
def test_a_job_that_holds_too_much_is_ended_at_its_limit(job: str, make_work: MakeWork) -> None:
    """What it started counts too; the reason names both numbers, and the next job is done by a fresh child."""
    with opened("process", make_work, mib_limit=200) as executor:
        assert ask(executor, '["hold", 50]').result(10) == b"50"
        with pytest.raises(WorkerDied, match=r"^killed at (2[0-9]\d|3\d\d) MiB, the memory limit of a job is 200 MiB$"):
            ask(executor, f'["{job}", 250]').result(10)
        assert ask(executor, '["count"]').result(10) == b"1"


def test_memory_is_limited_only_where_it_can_be_measured(make_work: MakeWork, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that nobody watches is refused, not forgotten."""
    monkeypatch.setattr(Path, "exists", lambda _path: False)
    with pytest.raises(UsageError, match=r"cannot be measured here \(no /proc\); leave --memory-limit out"):
        shelf.take(executors, "process").open(make_work, "f", workers=1, mib_limit=100)


@pytest.mark.parametrize(
    ("gpus_per_worker", "seen"), [(1, ["4", "5", "GPU-7"]), (0.5, ["4", "4", "5"]), (0, ["", "", ""])]
)
def test_every_child_sees_its_gpus(
    gpus_per_worker: float, seen: list[str], make_work: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are dealt out of those that the parent sees."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 5,GPU-7")
    with opened("process", make_work, workers=3, gpus_per_worker=gpus_per_worker) as executor:
        jobs = [ask(executor, '["look", 0.5, "CUDA_VISIBLE_DEVICES"]') for _ in range(3)]
        assert sorted(json.loads(job.result(10)) for job in jobs) == seen


def test_without_a_word_on_gpus_the_environment_is_left_alone(
    make_work: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child sees what its parent sees."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with opened("process", make_work) as executor:
        assert ask(executor, '["environment", "CUDA_VISIBLE_DEVICES"]').result(10) == b'"4,5"'
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with opened("process", make_work) as executor:
        assert ask(executor, '["environment", "CUDA_VISIBLE_DEVICES"]').result(10) == b"null"


def test_the_files_of_a_message_are_read_and_all_else_is_passed_over() -> None:
    """A job or result that is no object has none."""
    assert files_of(b'{"number": 3, "files": [{"name": "weights/00003.safetensors", "sha256": "ab"}]}') == (
        FileRef("weights/00003.safetensors", "ab"),
    )
    assert files_of(b'{"number": 3}') == files_of(b'["count"]') == files_of(b"not json") == ()
    with pytest.raises(msgspec.DecodeError, match="name"):
        files_of(b'{"files": [{"sha256": "ab"}]}')


@pytest.mark.parametrize("job", ['["children", "PATH"]', '["sleep", 60, "PATH"]'])
def test_no_orphan_survives_the_death_of_the_parent(job: str, make_work: MakeWork, tmp_path: Path) -> None:
    """After kill -9 of the parent, its children and theirs are gone within two seconds."""
    assert make_work
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, job.replace("PATH", f"{tmp_path}/pids")], env=environment
    ) as parent:
        pids = written(tmp_path / "pids")
        parent.kill()
        assert all(gone(pid, 2) for pid in pids)


def test_an_interrupt_from_the_keyboard_passes_children_by(make_work: MakeWork, tmp_path: Path) -> None:
    """SIGINT to the group of the parent, or to the child itself, leaves the job running: the parent decides."""
    assert make_work
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    program = PARENT.replace("import sys, time", "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: 0)")
    job = f'["sleep", 60, "{tmp_path}/pids"]'
    with subprocess.Popen([sys.executable, "-c", program, job], env=environment, process_group=0) as parent:
        (pid,) = written(tmp_path / "pids")
        os.killpg(parent.pid, signal.SIGINT)
        os.kill(pid, signal.SIGINT)
        assert not gone(pid, 0.3)
        assert parent.poll() is None
        parent.kill()
        assert gone(pid, 2)


def test_children_have_no_file_of_the_parent_and_one_thread(make_work: MakeWork, tmp_path: Path) -> None:
    """The lock and the ledger stay with the parent; numerics have one thread unless asked."""
    with (tmp_path / "secret").open("w"), opened("process", make_work) as executor:
        (pipe,) = json.loads(ask(executor, '["files"]').result(10))
        assert pipe.startswith("socket:")
        assert ask(executor, '["environment", "OMP_NUM_THREADS"]').result(10) == b'"1"'
    with opened("process", make_work, threads=3) as executor:
        assert ask(executor, '["environment", "OMP_NUM_THREADS"]').result(10) == b'"3"'


def test_work_that_cannot_be_found_by_name_is_refused_at_once(make_work: MakeWork) -> None:
    """A lambda would only fail in the child, long after."""
    with pytest.raises(ValueError, match="use a top-level function of an importable module"):
        shelf.take(executors, "process").open(lambda folder: make_work(folder), "f", workers=1)
    with pytest.raises(ValueError, match="0 workers; at least 1"):
        shelf.take(executors, "process").open(make_work, "f", workers=0)


def children() -> set[str]:
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no list of children here")
def test_one_spare_child_is_started_in_advance_and_no_more_than_there_are_slots(
    make_work: MakeWork, tmp_path: Path
) -> None:
    """While the root trains alone, the next worker gets ready."""
    before = children()
    with opened("process", make_work, workers=2) as executor:
        assert children() == before
        first = ask(executor, json.dumps(["sleep", 1.0, str(tmp_path / "begun")]))
        written(tmp_path / "begun")
        assert len(children() - before) == 2
        assert not first.done()
        answers = [ask(executor, '["pid"]') for _ in range(6)]
        assert len({answer.result(30) for answer in answers}) <= 2
        assert len(children() - before) == 2
