"""Detectors side by side: the same backbone, data, steps and seeds, AP with its interval, and the time it took.

uv run python benchmarks/detectors.py --data DATA --image-size 320 --steps 400
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from spnas.search.verdict import Sides, judge

ROOT = "basic: 16x2 / 32x2 / 64x2 / 128x2"


def train(detector: str, seed: int, chosen: argparse.Namespace, folder: str) -> dict[str, float]:
    """Train one detector in a process of its own, and return its numbers on val."""
    command = [sys.executable, "-m", "spnas", "train", chosen.root, "--detector", detector, "--seed", str(seed)]
    command += ["--steps", str(chosen.steps), "--image-size", str(chosen.image_size), "--threads", "1"]
    command += ["--out", str(Path(folder) / f"{detector}-{seed}"), "--json", "--quiet"]
    command += ["--data", chosen.data] if chosen.data else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    return {**result["metrics"], "seconds": result["seconds"]}


def main() -> None:
    """Train all, in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="generated pictures if not given")
    parser.add_argument("--detectors", default="faster_rcnn,cascade_rcnn")
    parser.add_argument("--root", default=ROOT)
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    names = chosen.detectors.split(",")
    runs = list(product(range(chosen.seeds), names))
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(chosen.workers) as pool:
        done = pool.map(lambda run: train(run[1], run[0], chosen, folder), runs)
        for (seed, name), numbers in zip(runs, done, strict=True):
            found[name].append(numbers)
            print(f"{name} seed {seed}: AP {numbers['ap']:.3f}", file=sys.stderr)
    print(f"{chosen.root}, {chosen.image_size} px, {chosen.steps} steps, seeds 0 to {chosen.seeds - 1}\n")
    print("| detector | AP by seed | AP | AP50 | AP75 | AP_S | seconds |\n|---|---|---|---|---|---|---|")
    for name, rows in found.items():
        means = [statistics.fmean(row.get(key, float("nan")) for row in rows) for key in ("ap", "ap50", "ap75")]
        small = statistics.fmean(row.get("ap_small", float("nan")) for row in rows)
        seconds = statistics.fmean(row["seconds"] for row in rows)
        seeds = " ".join(f"{row['ap']:.3f}" for row in rows)
        print(f"| {name} | {seeds} | " + " | ".join(f"{m:.3f}" for m in (*means, small)) + f" | {seconds:.0f} |")
    first = [row["ap"] for row in found[names[0]]]
    for name in names[1:]:
        ours = [row["ap"] for row in found[name]]
        others = [[row["ap"] for row in rows] for other, rows in found.items() if other not in (name, names[0])]
        print(f"\n{judge(None, ours, first, others, Sides(what=name, against=names[0], rival=names[0])).sentence}")


if __name__ == "__main__":
    main()
