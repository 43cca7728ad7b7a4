"""How far `spnas estimate` is off: the estimate of a small search beside the search itself, on this machine.

Hours (by the clock and by the processor), memory (all processes together, looked at twice a second) and disk, each as
estimated, as found, and their ratio. The search is the same command but for its verb.

    OMP_NUM_THREADS=1 uv run python benchmarks/estimate.py --out benchmarks/results/estimate.md \\
        --case "--image-size 64 --candidates 8 --copies 3 --steps 240 --seeds 2" \\
        --case "--data BCCD --image-size 160 --candidates 5 --copies 2 --steps 64 --seeds 1"
"""

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from spnas.runs.memory import resident_mib

COMMAND = [sys.executable, "-c", "from spnas.cli import main; main()"]


def spnas(*words: str, watched: bool = False) -> tuple[dict[str, Any], dict[str, float]]:
    """Run a command; return its JSON, and the seconds, processor seconds and MiB that it took."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = 0.0
    with subprocess.Popen([*COMMAND, *words, "--json", "--quiet"], stdout=subprocess.PIPE, text=True) as process:
        while watched and process.poll() is None:
            peak = max(peak, resident_mib(process.pid))
            time.sleep(0.5)
        assert process.stdout is not None
        said = process.stdout.read()
        if process.wait():
            raise SystemExit(f"spnas {words[0]} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(said), {"seconds": time.monotonic() - began, "processor": processor, "mib": peak}


def size_mib(folder: Path) -> float:
    """Return how much the files below a folder hold."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 2**20


def compare(words: list[str]) -> list[str]:
    """Estimate, search, and return the rows of a table."""
    load = os.getloadavg()[0]
    estimate, took = spnas("estimate", *words)
    with tempfile.TemporaryDirectory() as place:
        out = str(Path(place) / "run")
        _, spent = spnas("search", *words, "--out", out, watched=True)
        disk = size_mib(Path(out))
    rows = [
        ("time", "s", {k: 3600 * v for k, v in estimate["hours"].items()}, spent["seconds"]),
        ("processor", "s", {"expected": 3600 * estimate["processor_hours"]}, spent["processor"]),
        ("memory", "MiB", estimate["memory_mib"], spent["mib"]),
        ("disk", "MiB", estimate["disk_mib"], disk),
    ]
    lines = [f"`spnas search {shlex.join(words)}`: {estimate['plan']['candidates']} candidates of "
             f"{estimate['plan']['child_steps']} steps, {estimate['plan']['copies']} with copies, full trainings of "
             f"{estimate['plan']['final_steps']}, {estimate['workers']} workers. Measured in {took['seconds']:.0f} s; "
             f"load of the machine {load:.1f} before the estimate, {os.getloadavg()[0]:.1f} after the search.",
             "", "| | estimated | range | found | found / estimated |", "|---|---|---|---|---|"]  # fmt: skip
    for name, unit, guess, found in rows:
        spread = f"{guess['low']:.0f} - {guess['high']:.0f} {unit}" if "low" in guess else "-"
        expected = guess["expected"]
        lines.append(f"| {name} | {expected:.0f} {unit} | {spread} | {found:.0f} {unit} | {found / expected:.2f} |")
    return [*lines, ""]


def main() -> None:
    """Compare every case, and print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", action="append", required=True, help="options of one search")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    lines = []
    for case in chosen.case:
        lines += compare(shlex.split(case))
        print("\n".join(lines), flush=True)
        if chosen.out:
            chosen.out.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
