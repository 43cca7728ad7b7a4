"""A whole study in which call number k to the operating system or to SQLite is the last one, or fails, for every k."""

import errno
import os
import shutil
import sqlite3
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.journey import engine

from spnas.data.batches import Resize
from spnas.errors import ResourceError
from spnas.export import export_backbone
from spnas.nets.settings import PRESETS as SETTINGS
from spnas.runs import RunFolder, files
from spnas.runs.damage import damage_in
from spnas.search.settings import Plan
from spnas.train.average import Average
from spnas.train.checkpoint import save_progress
from spnas.train.weights import ModelConfig, build, load_model, write_bundle

SMALL = Plan(candidates=2, root_steps=2, child_steps=3, final_steps=2, finalists=1, seeds=1, copies=1, ignite_steps=2)
CALLS = ("open", "write", "fsync", "close", "replace", "unlink", "rmdir", "mkdir", "ftruncate", "pwrite")
DIED = 77
# every so many calls, so that it takes seconds; SPNAS_CRASH_POINTS=all takes every one
STRIDE = 1 if os.environ.get("SPNAS_CRASH_POINTS") == "all" else 7
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Calls:
    """Counts calls and does `act` instead of number `at`; what it returns, if anything, is raised."""

    def __init__(self, at: int = 0, act: Callable[[], BaseException | None] = lambda: None) -> None:
        self.at, self.act, self.count = at, act, 0

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.at and (fault := self.act()):
            raise fault

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Count what is called in the os module, and every statement to SQLite."""
        for name in CALLS:
            patch.setattr(os, name, self._counted(name, getattr(os, name)))
        counted = self

        class Connection(sqlite3.Connection):
            def execute(self, *words: object) -> sqlite3.Cursor:
                try:
                    counted()
                except OSError as fault:
                    full = fault.errno == errno.ENOSPC
                    said = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
                    said.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
                    raise said from fault
                return super().execute(*words)  # type: ignore[arg-type]

        connect = sqlite3.connect
        patch.setattr(sqlite3, "connect", lambda *words, **options: connect(*words, factory=Connection, **options))
        patch.setattr(engine, "note", lambda *_: None)

    def _counted(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*words: object, **options: object) -> object:
            if name == "write" and self.count + 1 == self.at:
                real(words[0], bytes(words[1])[: len(bytes(words[1])) // 2])  # type: ignore[call-overload]  # torn
            if name == "close":  # a descriptor is gone, whatever close says
                real(*words)
                self()
                return None
            self()
            return real(*words, **options)

        return call


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one, since what is tested is the order of calls."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    made = Path("/dev/shm", f"spnas-{os.getpid()}-{tmp_path.name}")
    made.mkdir()
    yield made
    shutil.rmtree(made)


def in_child(act: Callable[[], object]) -> int:
    """Do it in a fork and return its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os._exit(0)
        except ResourceError as fault:
            os._exit(fault.exit_code)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def play(root: Path) -> str:
    return engine.play(root, plan=SMALL)


def whole_of(place: Path, act: Callable[[Path], object]) -> int:
    """Do it once without a fault, and return how many calls it makes."""
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls()
        calls.install(patch)
        act(place / "whole")
    return calls.count


def test_a_study_that_dies_at_any_call_ends_as_if_it_had_not(place: Path) -> None:
    """From the first folder to the published bundle and the page, at more than 60 points."""
    points = whole_of(place, play)
    dump, made = play(place / "whole"), engine.files_in(place / "whole")
    assert points / STRIDE >= 60
    for at in range(1, points + 1, STRIDE):
        root = place / "study"

        def die(at: int = at, root: Path = root) -> None:
            with pytest.MonkeyPatch.context() as patch:
                Calls(at, lambda: os._exit(DIED)).install(patch)
                play(root)

        assert in_child(die) == DIED, f"call {at} of {points} is not reached"
        assert play(root) == dump, f"after call {at} of {points}"
        assert engine.files_in(root) == made, f"after call {at} of {points}"
        assert damage_in(RunFolder(root)) == []
        shutil.rmtree(root)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_call_ends_in_exit_code_4_or_does_no_harm(code: int, place: Path) -> None:
    """No success is silent: a study that goes through in spite of it is whole; else the old state loads and goes on."""
    points = whole_of(place, play)
    dump, made = play(place / "whole"), engine.files_in(place / "whole")
    refused = 0
    for at in range(2, points + 1, STRIDE):
        root = place / "study"

        def fail(at: int = at, root: Path = root) -> None:
            with pytest.MonkeyPatch.context() as patch:
                Calls(at, lambda: OSError(code, "injected")).install(patch)
                play(root)

        ended = in_child(fail)
        assert ended in (0, ResourceError.exit_code), f"call {at} of {points}"
        refused += ended != 0
        if ended == 0:
            with RunFolder(root).open_ledger(read_only=True) as ledger:
                assert ledger.dump() == dump, f"call {at} of {points} failed and nobody said so"
            assert engine.files_in(root) == made, f"call {at} of {points} failed and nobody said so"
        assert play(root) == dump, f"after call {at} of {points}"
        assert engine.files_in(root) == made
        shutil.rmtree(root)
    assert refused >= 40


def hand_over(root: Path, seed: int) -> None:
    """Write what a study hands over: a checkpoint, the bundle, an exported backbone and a page."""
    config = ModelConfig(
        detector="faster_rcnn",
        arch="basic: 4x1 / 8x1 / 12x1 / 16x1",
        classes=("a",),
        category_ids=(1,),
        settings=SETTINGS["small"],
        resize=Resize(None, 32),
    )
    detector = build(config, seed=seed)
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.1)
    (root / "checkpoints").mkdir(parents=True, exist_ok=True)
    files.mend_folder(root / "best")
    save_progress(root / "checkpoints" / "c", detector, optimizer, Average(detector, 0.9), step=seed, key="k")
    files.publish_folder(root / "best", lambda into: write_bundle(into, detector, config))
    export_backbone(detector.backbone, root / "backbone")  # type: ignore[arg-type]
    files.write_atomic(root / "report.html", str(seed).encode() * 1000)


def test_what_is_handed_over_is_the_old_or_the_new_at_any_call(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real detector's checkpoint, bundle and exported backbone, and the page: each is whole after every crash."""
    monkeypatch.setattr("spnas.export.backbone.run_apart", lambda *_, **__: None)  # it looks at a copy elsewhere
    points = whole_of(place, lambda root: hand_over(root, 1))
    hand_over(place / "new", 2)
    states: dict[str, set[str]] = {}
    wanted = {name: digest for root in ("whole", "new") for name, digest in tree(place / root).items()}
    for at in range(1, points + 1, STRIDE // 2 or 1):
        shutil.copytree(place / "whole", place / "study")

        def die(at: int = at) -> None:
            with pytest.MonkeyPatch.context() as patch:
                Calls(at, lambda: os._exit(DIED)).install(patch)
                hand_over(place / "study", 2)

        assert in_child(die) == DIED
        files.mend_folder(place / "study" / "best")
        load_model(place / "study" / "best")
        for temporary in (place / "study").rglob(files.TEMPORARY):
            temporary.unlink()
        for name, digest in tree(place / "study").items():
            states.setdefault(name, set()).add(digest)
        shutil.rmtree(place / "study")
    olds, news = tree(place / "whole"), tree(place / "new")
    assert points >= 60
    assert states.keys() == wanted.keys()
    for name, found in states.items():
        assert found <= {olds[name], news[name]}, name
    assert states["best/model.safetensors"] == {olds["best/model.safetensors"], news["best/model.safetensors"]}


def tree(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): files.sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_real_disk_that_is_full_ends_in_exit_code_4_and_the_study_goes_on_with_room(tmp_path: Path) -> None:
    """40 sizes of a small file system in memory; where none can be mounted, 40 limits on the size of a file."""
    dump = play(tmp_path / "whole")
    made = engine.files_in(tmp_path / "whole")
    disk, refused = tmp_path / "disk", 0
    disk.mkdir()
    for kib in range(8, 8 + 3 * 40, 3):
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", disk], check=False, capture_output=True
        )
        if mounted.returncode:
            pytest.skip("no file system can be mounted here; limits on the size of a file are in test_ledger")
        try:
            ended = in_child(lambda: play(disk / "study"))
            assert ended in (0, ResourceError.exit_code)
            refused += ended != 0
            subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
            assert play(disk / "study") == dump
            assert engine.files_in(disk / "study") == made
        finally:
            subprocess.run(["umount", disk], check=True)
    assert refused >= 20
