import errno
import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spnas.errors import IntegrityError, ResourceError, UsageError
from spnas.runs import files

OLD, NEW = b"old " * 1000, b"new " * 1000


class Crash(BaseException):
    """Stands for the death of the process: nothing after it works either."""


class FaultyOs:
    """The os module, in which call number `at` fails, and after a crash every later one too."""

    def __init__(self, at: int, fault: BaseException) -> None:
        self.at, self.fault, self.calls = at, fault, 0

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        if name not in {"open", "write", "fsync", "close", "replace", "unlink"}:
            return real

        def call(*args: object, **options: object) -> object:
            self.calls += 1
            if self.calls == self.at or (self.calls > self.at and isinstance(self.fault, Crash)):
                if name == "close":
                    real(*args)
                raise self.fault
            if name == "write" and len(args[1]) > 1000:  # a short write is legal
                return real(args[0], args[1][:1000])
            return real(*args, **options)

        return call


def fail_everywhere(
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[], BaseException],
    *,
    before: Callable[[], object],
    act: Callable[[], object],
    after: Callable[[], object],
) -> list[BaseException]:
    """Do it with a failure at the first call, the second, ... until it comes through; return the faults."""
    raised = []
    for at in range(1, 100):
        faulty = FaultyOs(at, fault())
        before()
        with monkeypatch.context() as patch:
            patch.setattr(files, "os", faulty)
            try:
                act()
            except BaseException as error:
                raised.append(error)
        after()
        if faulty.calls < at:
            return raised
    raise AssertionError("the calls never end")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("own", [True, False])
def test_a_disk_that_fails_at_any_call_leaves_before_or_after(
    code: int, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every failing call ends in a ResourceError that names the file, and the file is whole."""
    path, temp = tmp_path / "file", tmp_path / "temp"

    def before() -> None:
        path.write_bytes(OLD)
        if not own:
            temp.write_bytes(NEW)

    def after() -> None:
        assert path.read_bytes() in (OLD, NEW)
        assert os.listdir(tmp_path) == ["file"]

    raised = fail_everywhere(
        monkeypatch,
        lambda: OSError(code, "injected"),
        before=before,
        act=lambda: files.write_atomic(path, NEW) if own else files.commit_file(temp, path),
        after=after,
    )
    assert len(raised) >= 7
    for error in raised:
        assert isinstance(error, ResourceError)
        assert str(error).startswith(f"{path}: ")
        assert "run the same command again" in str(error)
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("own", [True, False])
def test_a_crash_at_any_call_leaves_before_or_after(own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can clean up after a crash; the file is whole all the same."""
    path, temp = tmp_path / "file", tmp_path / "temp"
    found = set()
    raised = fail_everywhere(
        monkeypatch,
        Crash,
        before=lambda: (path.write_bytes(OLD), temp.write_bytes(NEW)),
        act=lambda: files.write_atomic(path, NEW) if own else files.commit_file(temp, path),
        after=lambda: found.add(path.read_bytes()),
    )
    assert len(raised) >= 7
    assert found == {OLD, NEW}


@pytest.mark.parametrize("fault", [Crash, lambda: OSError(errno.ENOSPC, "injected")])
def test_a_folder_is_published_before_or_after(
    fault: Callable[[], BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever call fails, after mending there is the old folder or the new one, and nothing else."""
    path, found = tmp_path / "best", []

    def fill(folder: Path, data: bytes) -> None:
        (folder / "inner").mkdir(parents=True, exist_ok=True)
        (folder / "inner" / "a").write_bytes(data)
        (folder / "b").write_bytes(data)

    def after() -> None:
        files.mend_folder(path)
        assert os.listdir(tmp_path) == ["best"]
        found.append((path / "inner" / "a").read_bytes() + (path / "b").read_bytes())

    raised = fail_everywhere(
        monkeypatch,
        fault,
        before=lambda: fill(path, OLD),
        act=lambda: files.publish_folder(path, lambda folder: fill(folder, NEW)),
        after=after,
    )
    assert len(raised) >= 10
    assert set(found) == {OLD + OLD, NEW + NEW}
    assert found[-1] == NEW + NEW


def test_a_writer_that_fails_publishes_nothing(tmp_path: Path) -> None:
    """The old folder stays, and no half of the new one is left."""
    path = tmp_path / "best"
    files.publish_folder(path, lambda folder: folder.joinpath("a").touch())

    def write(folder: Path) -> None:
        folder.joinpath("b").touch()
        raise KeyError("oh")

    with pytest.raises(KeyError, match="oh"):
        files.publish_folder(path, write)
    assert [p.name for p in tmp_path.rglob("*")] == ["best", "a"]


def test_a_limit_on_file_size_is_a_full_disk(tmp_path: Path) -> None:
    """A real refusal of the operating system, in a process with RLIMIT_FSIZE, leaves the old file."""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    program = (
        "import sys, pathlib\nfrom spnas.runs import files\nfrom spnas.errors import ResourceError\n"
        "try: files.write_atomic(pathlib.Path(sys.argv[1]), b'x' * 100_000)\n"
        "except ResourceError as fault: print(fault); sys.exit(fault.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4, done.stderr
    assert str(path) in done.stdout
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["file"]


def test_a_place_one_may_not_write_to_is_named(tmp_path: Path) -> None:
    """A file in the place of a folder, a folder that is not there, or a name too long, is a UsageError that says so."""
    (tmp_path / "file").touch()
    for place, reason in (("file", "Not a directory"), ("gone", "No such file"), ("long" * 99, "File name too long")):
        with pytest.raises(UsageError, match=rf"{place}/inner: cannot be written \({reason}.*; choose a folder"):
            files.write_atomic(tmp_path / place / "inner", NEW)


def test_what_was_written_is_read_or_refused(tmp_path: Path) -> None:
    """A file with its hash is read; changed by one bit, cut or gone it is refused by name."""
    path = tmp_path / "file"
    files.write_atomic(path, NEW)
    checksum = files.sha256(path)
    assert checksum == hashlib.sha256(NEW).hexdigest()
    assert files.read_checked(path, checksum) == NEW
    for damaged in (b"M" + NEW[1:], NEW[:-1], b""):
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=r"file: its SHA-256 is .*; the file was changed or damaged"):
            files.read_checked(path, checksum)
    path.unlink()
    with pytest.raises(IntegrityError, match="file: is missing; restore it"):
        files.read_checked(path, checksum)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "a\0b", "link/x"])
def test_a_name_never_leads_outside(name: str, tmp_path: Path) -> None:
    """Names from files stay below the root, through symbolic links too."""
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(IntegrityError, match="leads outside"):
        files.resolve_inside(tmp_path, name)
    assert files.resolve_inside(tmp_path, "a/b") == tmp_path.resolve() / "a" / "b"
