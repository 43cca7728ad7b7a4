"""What `ray` promises beyond every executor: nodes come and go, files travel, and nothing stays behind."""

import contextlib
import hashlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from spnas.errors import IntegrityError, UsageError
from spnas.runs import cluster, parcels
from spnas.runs.executors import Executor, FileRef, MakeWork, WorkerDied, WorkFailed, inline, ray

SECONDS_AT_MOST = 240  # three workers that cannot be started take a minute on a busy machine
WORK = """
import ctypes, hashlib, json, os, pathlib, time

def make_work(folder):
    home = pathlib.Path(folder)
    def work(job):
        task = json.loads(job)
        there = sorted(path.name for path in home.rglob("*") if path.is_file())
        answer = {"folder": folder, "worker": os.getppid(), "there": there}
        match task["do"]:
            case "look": pass
            case "read": answer["text"] = (home / task["files"][0]["name"]).read_text()
            case "write":
                made = home / "weights" / "00001.safetensors"
                made.write_text(task["text"])
                sha256 = hashlib.sha256(task.get("claim", task["text"]).encode()).hexdigest()
                answer["files"] = [{"name": "weights/00001.safetensors", "sha256": sha256}]
            case "sleep":
                pathlib.Path(task["sign"]).write_text(str(os.getpid()))
                time.sleep(task["seconds"])
            case "meet":
                gpu = os.environ["CUDA_VISIBLE_DEVICES"]
                (home / f"gpu-{gpu}").touch()
                while len(list(home.glob("gpu-*"))) < 2: time.sleep(0.05)
                answer = gpu
            case "kill the worker": os.kill(os.getppid(), 9)
            case "segfault": ctypes.string_at(0)
            case "hold":
                held = b"x" * (400 << 20)
                time.sleep(30)
            case "square": answer = {"square": task["of"] ** 2}
        return json.dumps(answer).encode()
    return work
"""
ALONE = """
import json, os, signal, subprocess, sys, time
import spnas_ray_work
from spnas.runs.executors import ray

def ours(_number, _frame):
    raise SystemExit(143)

signal.signal(signal.SIGTERM, ours)
executor = ray.open(spnas_ray_work.make_work, sys.argv[1], workers=2, gpus_per_worker=1)
meetings = [executor.submit(b'{"do": "meet"}') for _ in range(2)]
gpus = sorted(json.loads(meeting.result(60)) for meeting in meetings)
executor.submit(json.dumps({"do": "sleep", "seconds": 60, "sign": sys.argv[1] + "/sign"}).encode())
print(json.dumps({"gpus": gpus, "kept": signal.getsignal(signal.SIGTERM) is ours}), flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    began = time.monotonic()
    executor.close(kill=True)
    print(json.dumps({"interrupted": True, "seconds": time.monotonic() - began}), flush=True)
"""


NODE: dict[str, Any] = {"num_gpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A Ray of others: a head with two CPUs, to which a test adds a larger node."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.ALONE.items():
            patch.setenv(name, value)
        machines = importlib.import_module("ray.cluster_utils").Cluster(
            initialize_head=True, head_node_args=NODE | {"num_cpus": 2}
        )
        yield machines
        machines.shutdown()


@pytest.fixture
def make_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWork]:
    (tmp_path / "spnas_ray_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("spnas_ray_work").make_work
    del sys.modules["spnas_ray_work"]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with settings, the weights of candidate 0, and a ledger that is nobody else's business."""
    folder = tmp_path / "study"
    (folder / "weights").mkdir(parents=True)
    (folder / "study.json").write_text("{}")
    (folder / "ledger.sqlite").write_text("ours")
    (folder / "weights" / "00000.safetensors").write_text("the weights of candidate 0")
    return folder


@contextlib.contextmanager
def opened(make_work: MakeWork, folder: Path | str, machines: Any, **options: Any) -> Iterator[Executor]:
    executor = ray.open(make_work, str(folder), address=machines.address, **({"workers": 1} | options))
    try:
        yield executor
    finally:
        executor.close(kill=True)


def ask(executor: Executor, do: str, **task: Any) -> Future[bytes]:
    return executor.submit(json.dumps({"do": do, **task}).encode())


def look(executor: Executor) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ask(executor, "look").result(SECONDS_AT_MOST))
    return answer


def ref(text: str, name: str = "weights/00000.safetensors") -> dict[str, str]:
    return {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def written(path: Path, seconds: float = 30) -> int:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(0.02)
    raise AssertionError(f"{path} is never written")


def gone(pid: int) -> bool:
    until = time.monotonic() + 3
    while runs(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not runs(pid)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_sees_the_folder_is_sent_nothing(make_work: MakeWork, study: Path, machines: Any) -> None:
    """It works in the study's own folder, from which the token by which it knew is gone in the end."""
    with opened(make_work, study, machines) as executor:
        seen = look(executor)
        assert seen["folder"] == str(study)
        assert "ledger.sqlite" in seen["there"]
        answer = json.loads(ask(executor, "write", text="new").result(60))
        assert (study / answer["files"][0]["name"]).read_text() == "new"
    assert not list(study.glob(".spnas-*"))


def test_a_worker_that_does_not_is_sent_what_a_job_needs(
    make_work: MakeWork, study: Path, machines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings and the files named, no more; what it makes comes back; damage on either side is refused."""
    monkeypatch.setenv(ray.SEND_FILES, "1")
    needed = ref("the weights of candidate 0")
    with opened(make_work, study, machines) as executor:
        answer = json.loads(ask(executor, "read", files=[needed]).result(60))
        assert answer["text"] == "the weights of candidate 0"
        assert answer["folder"] != str(study)
        assert answer["there"] == ["00000.safetensors", "study.json"]

        ask(executor, "write", text="the weights of candidate 1", files=[needed]).result(60)
        assert (study / "weights" / "00001.safetensors").read_text() == "the weights of candidate 1"
        assert look(executor)["there"] == ["study.json"]

        with pytest.raises(WorkFailed, match=r"00001\.safetensors: its SHA-256") as refused:
            ask(executor, "write", text="damaged", claim="as it was").result(60)
        assert refused.value.kind == "IntegrityError"
        assert (study / "weights" / "00001.safetensors").read_text() == "the weights of candidate 1"

        for wrong, said in ((ref("other weights"), "its SHA-256"), (ref("", "../secret"), "leads outside")):
            with pytest.raises(WorkFailed, match=said) as refused:
                ask(executor, "read", files=[wrong]).result(60)
            assert refused.value.kind == "IntegrityError"
        assert Path(answer["folder"]).exists()
    assert not Path(answer["folder"]).exists()


def test_a_file_that_is_damaged_on_its_way_is_refused() -> None:
    """Both ends compare it with its SHA-256 before they write it."""
    whole = b"whole"
    parcels.check(FileRef("weights/1", hashlib.sha256(whole).hexdigest()), whole)
    with pytest.raises(IntegrityError, match=r"weights/1: its SHA-256 after sending is .* was expected"):
        parcels.check(FileRef("weights/1", hashlib.sha256(whole).hexdigest()), b"whale")


def test_answers_are_those_of_inline(make_work: MakeWork, study: Path, machines: Any) -> None:
    """Ray carries bytes and changes none, results and faults alike."""
    tasks = [{"do": "square", "of": of} for of in (*range(8), 10**30, "x", None)]

    def answers(executor: Executor) -> list[str]:
        futures = [executor.submit(json.dumps(task).encode()) for task in tasks]
        return [str(future.exception(60) or future.result()) for future in futures]

    alone = answers(inline.open(make_work, str(study)))
    with opened(make_work, study, machines, workers=2) as executor:
        assert answers(executor) == alone
    assert any("TypeError" in answer for answer in alone)


def test_deaths_and_limits_are_those_of_a_process(make_work: MakeWork, study: Path, machines: Any) -> None:
    """The child of a worker dies or is ended, with the reason; the worker itself lives on."""
    with opened(make_work, study, machines, seconds_limit=8.0, mib_limit=300) as executor:
        first = look(executor)
        for job, said in (
            ({"do": "segfault"}, r"ended by SIGSEGV \(signal 11\), a fault in native code"),
            (
                {"do": "sleep", "seconds": 30, "sign": f"{study}/sign"},
                "killed after 8 seconds, the time limit of a job",
            ),
            ({"do": "hold"}, r"killed at \d+ MiB, the memory limit of a job is 300 MiB"),
        ):
            with pytest.raises(WorkerDied, match=said):
                executor.submit(json.dumps(job).encode()).result(60)
            assert look(executor)["worker"] == first["worker"]


def test_a_worker_that_is_lost_is_one_failed_job(make_work: MakeWork, study: Path, machines: Any) -> None:
    """The reason is one line of Ray's, and another worker takes the slot; lost between two jobs, no job fails."""
    with opened(make_work, study, machines) as executor:
        first = look(executor)["worker"]
        with pytest.raises(WorkerDied, match=r"^the worker was lost: [^\n]*worker process has died[^\n]*$") as died:
            ask(executor, "kill the worker").result(60)
        assert len(str(died.value)) < 400
        second = look(executor)["worker"]
        assert second != first
        os.kill(second, signal.SIGKILL)
        assert look(executor)["worker"] not in (first, second)


def test_nodes_come_and_go(make_work: MakeWork, study: Path, machines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A job waits for a node to come; fewer workers than asked for do all jobs; a node that goes fails its job only."""
    with opened(make_work, study, machines, workers=2, threads=4) as executor:
        looks = [ask(executor, "look") for _ in range(4)]
        time.sleep(0.5)
        assert not any(answer.done() for answer in looks)
        node = machines.add_node(**NODE, num_cpus=4)
        assert len({json.loads(answer.result(60))["worker"] for answer in looks}) == 1  # room for one
        running, waiting = ask(executor, "sleep", seconds=60, sign=f"{study}/sign"), ask(executor, "look")
        child = written(study / "sign")
        machines.remove_node(node, allow_graceful=False)
        with pytest.raises(WorkerDied, match=r"^the worker was lost: [^\n]+$"):
            running.result(60)
        assert gone(child)
        assert not waiting.done()
    assert waiting.cancelled()
    assert capsys.readouterr().out == ""  # results go there


def test_a_ray_of_others_is_left_running(make_work: MakeWork, study: Path, machines: Any) -> None:
    """One executor after the other finds it there; jobs that have no place are given up when it is closed."""
    with opened(make_work, study, machines, threads=64) as executor:
        waiting = ask(executor, "look")
        time.sleep(0.5)
        began = time.monotonic()
        executor.close(kill=True)
        assert time.monotonic() - began < 3
        assert waiting.cancelled()
    with opened(make_work, study, machines, threads=0.5) as executor:
        assert look(executor)["folder"] == str(study)


class Broken:
    """A worker that no machine can start."""

    def __init__(self, order: bytes) -> None:
        raise OSError(f"no place for {len(order)} bytes")

    def shares(self) -> bool:
        raise AssertionError("never asked")


def test_where_no_worker_can_be_started_jobs_fail_with_the_reason(
    make_work: MakeWork, study: Path, machines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the fault of the place, which ends a study, and not of the job."""
    monkeypatch.setattr(ray, "Worker", Broken)
    monkeypatch.setattr(ray, "_SECONDS_BEFORE_ANOTHER", 0.01)
    with opened(make_work, study, machines) as executor:
        with pytest.raises(WorkFailed, match=r"^Ray could not start a worker 3 times in a row \([^\n]*\)$") as failed:
            look(executor)
        assert failed.value.kind == "ResourceError"
        assert "no place for" in str(failed.value)


def test_a_ray_of_our_own_is_alone_and_leaves_nothing(make_work: MakeWork, study: Path) -> None:
    """It listens on the loopback interface only and deals GPUs; Ctrl-C reaches the driver; closing is quick."""
    assert make_work
    environment = os.environ | {
        "PYTHONPATH": str(study.parent),
        "CUDA_VISIBLE_DEVICES": "4,5",
        "TMPDIR": str(study.parent),
    }
    program = [sys.executable, "-c", ALONE, str(study)]
    with subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True, process_group=0) as driver:
        assert driver.stdout
        assert json.loads(driver.stdout.readline()) == {"gpus": ["4", "5"], "kept": True}
        family = descendants(driver.pid)
        assert written(study / "sign") in family
        addresses = listening(family)
        assert len(addresses) > 3
        assert {address for address in addresses if address not in LOOPBACK} == set()
        os.killpg(driver.pid, signal.SIGINT)
        said = json.loads(driver.stdout.readline())
        assert said["interrupted"]
        assert said["seconds"] < 4
        assert [pid for pid in family if runs(pid) and pid != driver.pid] == []
    assert driver.returncode == 0


LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


def descendants(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{each}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def listening(pids: list[int]) -> list[str]:
    """The addresses, as /proc writes them, on which processes wait for connections."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for file in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    sockets.add(os.readlink(file))
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


def test_ray_is_asked_for_only_here(make_work: MakeWork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error says how to get it; an address without a Ray says so."""
    with pytest.raises(UsageError, match="Ray's client protocol is not supported; run the command on a node"):
        ray.open(make_work, "f", workers=1, address="ray://head:10001")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UsageError, match=rf"^127\.0\.0\.1:{port}: no Ray .*start one with 'ray start --head'$"):
        ray.open(make_work, "f", workers=1, address=f"127.0.0.1:{port}")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'the executor "ray" needs Ray .*; pip install "spnas\[ray\]"'):
        ray.open(make_work, "f", workers=1)


def test_more_gpus_than_this_machine_has_are_refused(make_work: MakeWork, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray of our own could never place them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UsageError, match="2 workers with 1 GPUs each need 2, 1 are visible"):
        ray.open(make_work, "f", workers=2, gpus_per_worker=1)
    with pytest.raises(UsageError, match=r"1\.5 GPUs per worker; use a whole number"):
        ray.open(make_work, "f", workers=2, gpus_per_worker=1.5)
    with pytest.raises(ValueError, match="0 workers; at least 1"):
        ray.open(make_work, "f", workers=0)
