"""Kill a study at random moments, again and again, until it is done; a process of its own that forks the victims.

Without real training it imports no torch; either way a victim has all its modules from the start.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.journey import engine

from spnas.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from spnas.runs import RunFolder, files

MOST_KILLS_A_STUDY = 60
Play = Callable[[], object]


def fork(play: Play) -> int:
    """Begin to play a study in a child, which exits with 0 once it is done."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    try:
        play()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def torment(root: Path, play: Play, chance: random.Random, *, seconds: float, most: int) -> dict[str, int]:
    """Kill the study in `root` every so many seconds at most; return how many kills there were, how many outcomes
    were lost, and how often it failed by itself."""
    kills = lost = failed = 0
    while kills < most:
        pid = fork(play)
        time.sleep(chance.random() * seconds)
        os.kill(pid, signal.SIGKILL)  # it is not waited for yet, so the number is still its own
        status = os.waitpid(pid, 0)[1]
        if os.WIFEXITED(status):
            failed += os.WEXITSTATUS(status) != 0
            break
        kills += 1
        lost += missing(root)
    return {"kills": kills, "lost": lost, "failed": failed}


def missing(root: Path) -> int:
    """Return how many outcomes that the driver had on record are not there."""
    known = engine.on_record(root)
    if not known:
        return 0
    with RunFolder(root).open_ledger(read_only=True) as ledger:
        return len(known - ledger.outcomes().keys())


def fast(place: Path, wanted: int, chance: random.Random) -> None:
    """Torment studies that only pretend to train, every fourth with workers in processes of their own."""
    kills = number = 0
    while kills < wanted:
        root, processes = place / f"study-{number}", number % 4 == 3
        options = {"executor": "process", "workers": 2} if processes else {}

        def play(root: Path = root, options: dict[str, object] = options) -> str:
            return engine.play(root, **options)  # type: ignore[arg-type]

        most = min(MOST_KILLS_A_STUDY, wanted - kills)
        found = torment(root, play, chance, seconds=1.5 if processes else 0.25, most=most)
        kills, number = kills + found["kills"], number + 1
        whole = {"dump": engine.play(root), "files": engine.files_in(root), "again": engine.done_again(root)}
        sys.stdout.write(json.dumps(found | whole) + "\n")


def trained(place: Path, wanted: int, chance: random.Random) -> None:
    """Torment searches with real training, after one that is left alone and tells how long it takes."""
    import torch

    from spnas import tasks
    from spnas.config import Wishes
    from spnas.tasks.phases import crew_of

    torch.set_num_threads(1)

    def play_in(root: Path) -> None:
        tasks.search(
            place / "data",
            out=root,
            wishes=Wishes(candidates=2, copies=1, steps=6, seeds=1),
            root="basic: 8x1 / 16x1 / 32x1 / 64x1",
            image_size=48,
            batch_size=2,
            crew=crew_of(executor="inline"),
        )

    def found_in(root: Path) -> dict[str, object]:
        with RunFolder(root).open_ledger(read_only=True) as ledger:
            return {"dump": ledger.dump(), "files": {p.name: files.sha256(p) for p in root.glob("weights/*")}}

    began = time.monotonic()
    os.waitpid(fork(lambda: play_in(place / "whole")), 0)
    seconds = time.monotonic() - began
    sys.stdout.write(json.dumps({"kills": 0, "lost": 0, "failed": 0} | found_in(place / "whole")) + "\n")
    kills = number = 0
    while kills < wanted:
        root = place / f"study-{number}"
        found = torment(root, lambda root=root: play_in(root), chance, seconds=seconds / 3, most=wanted - kills)
        kills, number = kills + found["kills"], number + 1
        if os.waitpid(fork(lambda root=root: play_in(root)), 0)[1]:
            found["failed"] += 1
        sys.stdout.write(json.dumps(found | found_in(root)) + "\n")


def signalled(place: Path, wanted: int, chance: random.Random) -> None:
    """Stop studies with workers in processes of their own by SIGINT or SIGTERM, as the command takes them; print for
    every signal the exit code, how long it took to stop, and how many processes were left."""
    from spnas.cli import Terminated, _terminate

    def play(root: Path) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _terminate)
        try:
            engine.play(root, executor="process", workers=2)
        except KeyboardInterrupt:
            os._exit(EXIT_INTERRUPTED)
        except Terminated:
            os._exit(EXIT_TERMINATED)

    sent = number = 0
    while sent < wanted:
        root, stopped = place / f"study-{number}", list[tuple[int, int, float, int]]()
        number += 1
        while sent < wanted:
            pid = fork(lambda root=root: play(root))
            while not Path(f"{root}.trace").exists():  # the first training has begun, and signals are taken
                time.sleep(0.01)
            time.sleep(chance.random() * 0.8 + 0.1)
            kind, began = chance.choice([signal.SIGINT, signal.SIGTERM]), time.monotonic()
            os.kill(pid, kind)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if code == 0:
                break
            sent += 1
            stopped.append((kind, code, time.monotonic() - began, len(processes_of(root))))
        whole = {"dump": engine.play(root), "files": engine.files_in(root), "again": engine.done_again(root)}
        sys.stdout.write(json.dumps({"stopped": stopped} | whole) + "\n")


def processes_of(root: Path) -> list[str]:
    """Return the command lines in which a study's folder is named: those of its workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(root) in words:
            found.append(" ".join(words))
    return found


def main(arguments: list[str]) -> None:
    """Torment studies until there were so many kills, and print one line of JSON for each."""
    kind, place, wanted, seed = arguments[0], Path(arguments[1]), int(arguments[2]), int(arguments[3])
    {"fast": fast, "trained": trained, "signalled": signalled}[kind](place, wanted, random.Random(seed))


def run(kind: str, place: Path, kills: int) -> list[dict[str, object]]:
    """Do all of it in a process of its own, and return what was found study by study."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); from tests.journey.killer import main; main(sys.argv[2:])"
    words = [sys.executable, "-c", program, str(engine.HERE), kind, str(place), str(kills), str(kills)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [{"said": done.stderr} | json.loads(line) for line in done.stdout.splitlines()]
