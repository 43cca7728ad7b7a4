"""How many candidates an hour one worker process tries, and how many two: the same search, its candidates the same.

Counted is the serial phase alone, from the moment at which the root is in the ledger, since who trains a root trains
alone, to the last outcome; controls count as well. Runs take turns, and a ratio is of a pair of neighbours.

    uv run python benchmarks/workers.py --pairs 3
    uv run python benchmarks/workers.py --workers 8 -- --data DATA --image-size 320 --candidates 40 --steps 800
"""

import argparse
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from spnas.runs.folder import RunFolder
from spnas.runs.tail import Tail

COMMAND = [sys.executable, "-c", "from spnas.cli import main; main()", "search"]
SEARCH = ["--candidates", "40", "--steps", "480"]
SECONDS_BETWEEN_LOOKS = 0.2


class Run(NamedTuple):
    """Trainings after the root, and seconds from its outcome to their last one."""

    trainings: int
    seconds: float

    @property
    def per_hour(self) -> float:
        """Trainings an hour."""
        return 3600 * self.trainings / self.seconds


def search(words: list[str], workers: int) -> Run:
    """Run the serial phase of a search, and look at its ledger meanwhile."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        command = [*COMMAND, *words, "--phases", "serial", "--workers", str(workers), "--out", str(out), "--quiet"]
        tail, at = Tail(RunFolder(out).ledger), list[float]()  # when each outcome was there
        with subprocess.Popen([*command, "--json"], stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                at += [time.monotonic() for event in tail.news() if event.kind == "outcome"]
            if process.returncode:
                raise SystemExit(f"spnas search ended with {process.returncode}")
        missed = sum(event.kind == "outcome" for event in tail.news())
        if missed or len(at) < 2:
            raise SystemExit(f"{missed} outcomes of {missed + len(at)} were not seen to come; give more --candidates")
    return Run(len(at) - 1, at[-1] - at[0])


def main() -> None:
    """Let one and several workers take turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("words", nargs="*", help="options of the search, after --")
    chosen = parser.parse_args()
    words = chosen.words or SEARCH
    print(f"{platform.machine()}, {os.cpu_count()} cores; spnas search --phases serial {shlex.join(words)}\n")
    print(f"| pair | trainings | an hour, 1 worker | an hour, {chosen.workers} workers | ratio | load before |")
    print("|---|---|---|---|---|---|")
    ratios = []
    for pair in range(chosen.pairs):
        load = os.getloadavg()[0]
        one, several = search(words, 1), search(words, chosen.workers)
        ratios.append(several.per_hour / one.per_hour)
        row = (pair + 1, one.trainings, f"{one.per_hour:.0f}", f"{several.per_hour:.0f}", f"{ratios[-1]:.2f}")
        print(f"| {' | '.join(map(str, (*row, f'{load:.1f}')))} |", flush=True)
    print(f"\nratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
