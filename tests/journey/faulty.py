"""An evaluator that goes wrong at three candidates in ten, in every way that we could think of."""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from tests.journey import engine

from spnas.arch import Outcome
from spnas.rng import rng
from spnas.search.settings import Plan
from spnas.study import Done, Job

SHARE = 0.3
SECONDS_LIMIT, MIB_LIMIT = 6.0, 160.0
PLAN = Plan(
    candidates=160, root_steps=3, child_steps=3, final_steps=3, finalists=1, seeds=4, copies=24, ignite_steps=3, stuck=8
)


def _raise(fault: BaseException) -> None:
    raise fault


def _recurse(depth: int = 0) -> int:
    return _recurse(depth + 1) + 1


def _fork_and_leave() -> None:
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)


def _close_everything() -> None:
    os.closerange(3, 64)


def _noise() -> None:
    for _ in range(1000):
        print("\x1b[31m" + "noise " * 20)
    raise RuntimeError("after much noise")


def _hold_memory() -> None:
    held = bytearray(b"x") * (180 << 20)
    time.sleep(30)
    del held


RAISING: dict[str, Callable[[], object]] = {
    "value": lambda: _raise(ValueError("no")),
    "lines": lambda: _raise(RuntimeError("CUDA error:\n  device-side assert\n\n  triggered")),
    "silent": lambda: _raise(KeyError()),
    "memory error": lambda: _raise(MemoryError()),
    "recursion": _recurse,
    "division": lambda: 1 // 0,
    "unicode": lambda: b"\xff".decode(),
    "surrogate": lambda: _raise(ValueError("name \udcff \x1b[2J\u202e")),
    "long": lambda: _raise(ValueError("x" * 1_000_000)),
    "assertion": lambda: _raise(AssertionError()),
    "exit": lambda: sys.exit(0),
    "broken pipe": lambda: _raise(BrokenPipeError(32, "Broken pipe")),
    "timeout": lambda: _raise(TimeoutError("no answer")),
    "stop": lambda: next(iter(())),
    "noise": _noise,
}
DYING: dict[str, Callable[[], object]] = {
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "leaves": lambda: os._exit(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "hangs": lambda: time.sleep(600),
    "too much memory": _hold_memory,
    "forks and leaves": _fork_and_leave,
    "closes its pipe": _close_everything,
}


def _answers(number: int) -> dict[str, object]:
    """Return answers that are wrong: bytes, or what is not even that."""
    good = msgspec.to_builtins(Done(outcome=Outcome(number=number, metrics={"ap": 0.9})))
    return {
        "nan": json.dumps(good).replace("0.9", "NaN").encode(),
        "null": json.dumps(good).replace("0.9", "null").encode(),
        "beyond": json.dumps(good).replace("0.9", "1e999").encode(),
        "garbage": b"\x00\xff{]",
        "huge": b"[" * 20_000_000,
        "another's": msgspec.json.encode(Done(outcome=Outcome(number=number + 1, metrics={"ap": 0.9}))),
        "nothing measured": msgspec.json.encode(Done(outcome=Outcome(number=number))),
        "no reason": msgspec.json.encode(Done(outcome=Outcome(number=number, failure=""))),
        "text": "a string",
        "none": None,
    }


KINDS = [*RAISING, *DYING, *_answers(0)]


def fault_of(number: int) -> str | None:
    """Return how candidate `number` goes wrong, one kind after the other; the root does not."""
    wrong = [n for n in range(1, number + 1) if rng(1, "fault", n).random() < SHARE]
    return KINDS[(len(wrong) - 1) % len(KINDS)] if wrong and wrong[-1] == number else None


def make_work(folder: str) -> Callable[[bytes], bytes]:
    """Return the work of `engine`, which now and then goes wrong."""
    right = engine.make_work(folder)

    def work(job: bytes) -> bytes:
        number = msgspec.json.decode(job, type=Job).candidate.number
        kind = fault_of(number)
        if kind in RAISING or kind in DYING:
            (RAISING | DYING)[kind]()
        if kind is not None and kind not in RAISING and kind not in DYING:
            return _answers(number)[kind]  # type: ignore[return-value]  # that is the fault
        return right(job)

    return work


def main(root: str) -> None:
    """Play a study with it."""
    limits = {"seconds_limit": SECONDS_LIMIT, "mib_limit": MIB_LIMIT}
    engine.play(Path(root), executor="process", workers=2, plan=PLAN, make=make_work, **limits)
