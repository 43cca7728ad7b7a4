"""How well a table of blocks tells the milliseconds of whole nets on this machine, for nets it has never met.

The table is made as a search makes it; then other nets of the space, which it was not fitted to, are timed whole and
compared, and so is the guess that time grows with GMACs, fitted to the same nets.

    OMP_NUM_THREADS=1 uv run python benchmarks/latency.py            # a minute or two on a quiet machine
    uv run python benchmarks/latency.py --root r_111-2111-211111-211 --size 640x480 --device cuda --precision bf16
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from spnas.arch import Arch
from spnas.arch.published import arch_of
from spnas.arch.space import around
from spnas.config import spend
from spnas.latency import LARGEST_NET, NETS, SMALLEST_NET, fit, predictor, sample, table_for
from spnas.nets.timing import this_place, time_all
from spnas.rng import rng
from spnas.search.budget import Budget
from spnas.search.solver import draw_child

BUDGET_OVER_ROOT = 1.7
STRANGERS = 20


def strangers(root: Arch, known: list[Arch], size: tuple[int, int], least: float, most: float) -> list[Arch]:
    """Return nets between so many GMACs that are none of the known ones."""
    cost, space = partial(spend, size=size), around(root)
    seen, found = {arch.id for arch in known}, list[Arch]()
    for number in range(10 * STRANGERS):
        draw = rng(7, "strangers", number)
        budget = Budget(gmacs=float(draw.uniform(least, most)))
        drawn = draw_child(root, draw, space=space, budget=budget, cost=cost, known=seen, most_moves=60)
        if drawn and budget.in_band(cost(drawn[0])) and len(found) < STRANGERS:
            seen.add(drawn[0].id)
            found.append(drawn[0])
    return found


def main() -> None:
    """Make a table, meet strangers, and print how far off it was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", default="basic: 16x2 / 32x2 / 64x2 / 128x2")
    parser.add_argument("--size", default="320x240", help="width x height")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    chosen = parser.parse_args()
    width, height = map(int, chosen.size.split("x"))
    root, size, place = arch_of(chosen.root), (height, width), this_place(chosen.device, chosen.precision)
    cost, space = partial(spend, size=size), around(root)

    began = time.monotonic()
    milliseconds = BUDGET_OVER_ROOT * time_all([root], size, place)[0]
    with tempfile.TemporaryDirectory() as folder:
        table = table_for(
            root, space, size, place, milliseconds=milliseconds, cost=cost, store=Path(folder) / "latency.json"
        )
    print(f"{table}; made in {time.monotonic() - began:.0f} s")
    line = f"{table.offset:+.3f} ms + {table.scale:.3f} x sum of blocks"
    print(f"{chosen.size}, one picture, budget {milliseconds:.2f} ms, line {line}")

    gmacs = BUDGET_OVER_ROOT * cost(root).gmacs
    fitted = sample(root, space, cost, SMALLEST_NET * gmacs, LARGEST_NET * gmacs)
    others = strangers(root, fitted, size, SMALLEST_NET * gmacs, LARGEST_NET * gmacs)
    times = np.array(time_all([*fitted, *others], size, place))
    predict = predictor(table)
    by_table = np.array([predict(arch) for arch in others])
    offset, scale, _ = fit(np.array([cost(arch).gmacs for arch in fitted]), times[: len(fitted)])
    by_gmacs = offset + scale * np.array([cost(arch).gmacs for arch in others])
    measured = times[len(fitted) :]
    print(
        f"| {len(others)} nets never met, {measured.min():.2f} to {measured.max():.2f} ms | mean error | worst | rank |"
    )
    print("|---|---|---|---|")
    for name, guess in (("table of blocks", by_table), (f"line through GMACs of {NETS} nets", by_gmacs)):
        errors = np.abs(guess / measured - 1)
        ranks = np.corrcoef(guess.argsort().argsort(), measured.argsort().argsort())[0, 1]
        print(f"| {name} | {errors.mean():.1%} | {errors.max():.1%} | {ranks:.2f} |")


if __name__ == "__main__":
    main()
