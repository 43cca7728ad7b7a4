"""Decode pictures of unknown origin in child processes: one that kills its decoder kills nothing else."""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from spnas.data.alike import look
from spnas.data.pictures import SAFE_FORMATS, read_picture
from spnas.errors import DataError, escape

SECONDS = 60.0  # no picture below the size limit takes so long
MOST_MEMORY = 4 << 30  # bytes a child may ask for


class Verdict(msgspec.Struct, frozen=True):
    """A child's answer about one picture; an empty code means that it decodes, and looks like `look`."""

    code: str = ""
    reason: str = ""
    hint: str = ""
    look: str = ""


class Decoded(msgspec.Struct, frozen=True):
    """What is wrong with the pictures that fail, by index, and how every picture looks ("" where unknown)."""

    faults: dict[int, DataError]
    looks: list[str]


def decode_all(
    paths: Sequence[Path],
    *,
    formats: tuple[str, ...] = SAFE_FORMATS,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Decoded:
    """Decode every picture completely."""
    faults: dict[int, DataError] = {}
    looks = [""] * len(paths)
    todo = iter(range(len(paths)))
    lock = threading.Lock()
    done = 0

    def take() -> int | None:
        with lock:
            return next(todo, None)

    def work() -> None:
        nonlocal done
        child = _Child(formats)
        try:
            while (index := take()) is not None:
                verdict = child.ask(paths[index])
                with lock:
                    done += 1
                    looks[index] = verdict.look
                    if verdict.code:
                        faults[index] = DataError(
                            escape(str(paths[index])), "", verdict.code, verdict.reason, verdict.hint
                        )
                    if progress is not None:
                        progress(done, len(paths))
        finally:
            child.close()

    count = max(1, min(workers or os.cpu_count() or 1, len(paths)))
    threads = [threading.Thread(target=work, name=f"decode-{i}") for i in range(count if paths else 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Decoded(dict(sorted(faults.items())), looks)


class _Child:
    """A decoder process that is started again whenever a picture kills it."""

    def __init__(self, formats: tuple[str, ...]) -> None:
        self.formats = formats
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, path: Path) -> Verdict:
        """Return the child's answer, or that it died or hung over this picture."""
        if self.process is None:
            command = [sys.executable, "-m", "spnas.data.decoding", *self.formats]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(os.fsencode(path) + b"\0")
            stdin.flush()
            if select.select([stdout], [], [], SECONDS)[0]:
                line = stdout.readline()
                if line:
                    return msgspec.json.decode(line, type=Verdict)
        except BrokenPipeError:
            pass
        self.close()
        return Verdict("picture-kills-decoder", "decoding it crashed or hung the decoder", "remove the picture")

    def close(self) -> None:
        """Stop the process and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def serve(asked: IO[bytes], answers: IO[bytes], *, formats: tuple[str, ...]) -> None:
    """Answer for every NUL-terminated path with one line of JSON (what the child process does)."""
    rest = b""
    while chunk := os.read(asked.fileno(), 1 << 16):
        *names, rest = (rest + chunk).split(b"\0")
        for name in names:
            try:
                verdict = Verdict(look=look(read_picture(Path(os.fsdecode(name)), formats=formats)))
            except DataError as error:
                verdict = Verdict(error.code, error.reason, error.hint)
            except MemoryError:
                verdict = Verdict("picture-too-large", "decoding it needs too much memory", "scale it down")
            answers.write(msgspec.json.encode(verdict) + b"\n")
            answers.flush()


if __name__ == "__main__":
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    except (ImportError, ValueError, OSError):
        pass  # no such limits on this system
    serve(sys.stdin.buffer, sys.stdout.buffer, formats=tuple(sys.argv[1:]) or SAFE_FORMATS)
