"""Does each part of the preset `plus` pay? A simulation: made-up landscapes, noise as large as that of real trainings.

Every search gets the same number of training steps after its root, rungs and controls counted. What it found is what
it would send into the finals; it is worth its true quality, which no search gets to see. Searches with and without a
part run on the same landscape with the same seed, so their differences are paired.

    uv run python benchmarks/search_parts.py --seeds 100 --write benchmarks/results/search_parts.md
"""

import argparse
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spnas.arch import Arch, Candidate, Outcome, parse
from spnas.arch.move import SERIAL, apply, neighbours
from spnas.arch.space import around, why_not
from spnas.rng import rng
from spnas.search.archive import Archive, newest_that_counts
from spnas.search.budget import Budget, Spent
from spnas.search.finalists import choose
from spnas.search.objective import Objective
from spnas.search.phases import serial
from spnas.search.rules import PARTS, rules_of
from spnas.search.settings import LAG, Plan, SearchSettings

ROOT = parse("basic: 16x2 / 32x2 / 64x2 / 128x2")
NOISE = 0.043  # standard deviation of AP between trainings of one net from scratch (benchmarks/luck.py)
INHERITED = 0.9  # correlation of a net's luck with that of the weights it began with (likewise)
EARLY_KINSHIP = 0.7  # correlation of what is new in a training's luck after a third of its steps with that at its end
EARLY_GAIN, EARLY_SHOCK = 0.6, 0.01  # by then so much of a move's gain shows, and so much of it is still to be mended
DRIFT, DRIFT_LASTS = 0.05, 5.0  # what training on brings in the end, and after how many trainings most of it is there
FAR = (0.4, 10.0)  # the same where the root is far from being trained out
CHILD_STEPS, TRAININGS = 30, 60  # steps of a child, and how many whole children the steps of a search are worth
ENDLESS = Plan(
    candidates=10**9, root_steps=240, child_steps=CHILD_STEPS, final_steps=240, finalists=1, seeds=3, copies=0
)
ARMS = {
    "plus": rules_of("plus"),
    **{f"without {part}": rules_of("plus", (part,)) for part in PARTS if part != "twin"},  # judged, not searched with
    "paper": rules_of("paper"),
    "vega-v1": rules_of("vega-v1"),
}

Quality = Callable[[Arch], float]


class Past(NamedTuple):
    """What came before: how often a net's line was trained on, and its luck in standard deviations."""

    trainings: int
    luck: float


@lru_cache(maxsize=200_000)
def cost(arch: Arch) -> Spent:
    """Count the 3x3 convolutions of basic blocks at 80x60 pixels in stage 1."""
    copies = arch.copies or (0,) * len(arch.stages)
    macs = sum((1 + copies[i]) * 18 * w * w * 4800 / 4**i for i, stage in enumerate(arch.stages) for w in stage)
    return Spent(gmacs=macs / 1e9, params=sum(18 * w * w for w in arch.widths))


def additive(seed: int, scale: float = 1.0) -> Quality:
    """Return a smooth landscape: depth of every stage pays by its logarithm, doublings pay by where they are."""
    draw = rng(seed, "landscape")
    worth = draw.uniform(0.1, 1.0, 8)
    places, curve = np.sort(draw.uniform(0.1, 0.9, 3)), draw.uniform(0.05, 0.3, 3)

    def quality(arch: Arch) -> float:
        depth = sum(float(w) * math.log(1 + len(stage)) for w, stage in zip(worth, arch.stages, strict=False))
        doublings = [block / arch.block_count for block in arch.doublings]
        missed = sum(float(c) * (d - float(p)) ** 2 for c, d, p in zip(curve, doublings, places, strict=False))
        return 0.4 + scale * (0.03 * depth - missed)

    return quality


def interacting(seed: int) -> Quality:
    """Return a rugged landscape: half of it is smooth, the rest hangs on depths of neighbouring stages together."""
    smooth, draw = additive(seed, 0.5), rng(seed, "interactions")
    rates, phases = draw.uniform(0.5, 1.5, (8, 2)), draw.uniform(0, 2 * math.pi, 8)

    def quality(arch: Arch) -> float:
        depths = [len(stage) for stage in arch.stages]
        waves = [
            math.cos(float(rates[i, 0]) * a + float(rates[i, 1]) * b + float(phases[i]))
            for i, (a, b) in enumerate(itertools.pairwise(depths))
        ]
        return smooth(arch) + 0.02 * sum(waves)

    return quality


def flat(seed: int) -> Quality:
    """Return a landscape with hardly a slope: a tenth of the smooth one."""
    return additive(seed, 0.1)


LANDSCAPES = {
    "additive": (additive, (DRIFT, DRIFT_LASTS)),
    "interacting": (interacting, (DRIFT, DRIFT_LASTS)),
    "nearly flat": (flat, (DRIFT, DRIFT_LASTS)),
    "additive, far from trained out": (additive, FAR),
}


def settings_of(arm: str, seed: int) -> SearchSettings:
    """Return the search of one arm; its budget is twice the cost of the root."""
    bound = 2 * cost(ROOT).gmacs
    return SearchSettings(
        root=ROOT,
        space=around(ROOT),
        budget=Budget(gmacs=bound),
        plan=ENDLESS,
        rules=ARMS[arm],
        phases=("serial",),
        objective=Objective(reference=bound),
        seed=seed,
    )


def trained(
    candidate: Candidate,
    archive: Archive,
    quality: Quality,
    *,
    past: dict[int, Past],
    seed: int,
    drifting: tuple[float, float],
) -> Outcome:
    """Train on the landscape: the net's quality, what training on has brought, and luck, most of it inherited."""
    number, parent = candidate.number, candidate.parent
    began = rng(seed, "luck", number if candidate.continues is None else candidate.continues)
    new, other = (float(v) for v in began.standard_normal(2))
    before_it = past[parent] if parent is not None else Past(-1, 0.0)
    kept = INHERITED if parent is not None else 0.0
    fresh = math.sqrt(1 - kept**2)
    past[number] = Past(before_it.trainings + 1, kept * before_it.luck + fresh * new)
    trainings, luck = past[number]
    worth, before = quality(candidate.arch), quality(archive.candidates[parent].arch) if parent is not None else 0.0

    def drift(trainings: float) -> float:
        return drifting[0] * (1 - math.exp(-trainings / drifting[1]))

    late = worth + drift(trainings) + NOISE * luck
    kin = EARLY_KINSHIP * new + math.sqrt(1 - EARLY_KINSHIP**2) * other
    early_luck = kept * before_it.luck + fresh * kin
    shock = EARLY_SHOCK if candidate.moves else 0.0
    early = before + EARLY_GAIN * (worth - before) - shock + drift(trainings - 2 / 3) + NOISE * early_luck
    ap = late if candidate.until is None else early
    return Outcome(number=number, metrics={"ap": ap}, early={"ap": early} if candidate.look is not None else {})


def play(arm: str, landscape: str, seed: int) -> float:
    """Search for as many steps as there are, and return the true quality of what was found, less the root's."""
    settings, (make, drifting) = settings_of(arm, seed), LANDSCAPES[landscape]
    quality = make(seed)
    archive, outcomes, past = Archive(settings.rules, settings.objective, cost), list[Outcome](), dict[int, Past]()
    steps, counted = 0, 0
    while True:
        number = len(outcomes)
        while counted < min(newest_that_counts(number, LAG) + 1, number):
            archive.learn(outcomes[counted])
            counted += 1
        candidate = serial.propose(number, archive, settings, cost)
        if candidate is None:
            break
        if candidate.role != "root":
            begun = archive.candidates[candidate.continues].steps_here if candidate.continues is not None else 0
            steps += candidate.steps_here - begun
        if steps > TRAININGS * CHILD_STEPS:
            break
        archive.see(candidate)
        outcomes.append(trained(candidate, archive, quality, past=past, seed=seed, drifting=drifting))
    for outcome in outcomes[counted:]:
        archive.learn(outcome)
    found = choose(archive, settings, cost, fits=lambda arch: not settings.budget.exceeded(cost(arch)))[0].arch
    return quality(ROOT if settings.budget.exceeded(cost(found)) else found) - quality(ROOT)


def gains_of_moves(landscape: str, seeds: int) -> list[float]:
    """Return by how much single moves from the root change true quality."""
    gains, space = list[float](), around(ROOT)
    for seed in range(seeds):
        quality = LANDSCAPES[landscape][0](seed)
        children = (apply(ROOT, move) for move in neighbours(ROOT, kinds=SERIAL))
        gains += [quality(child) - quality(ROOT) for child in children if why_not(child, space) is None]
    return gains


def interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % interval; there are a hundred values or more."""
    return statistics.fmean(values), 1.98 * statistics.stdev(values) / math.sqrt(len(values))


def table(landscape: str, found: dict[str, list[float]]) -> list[str]:
    """Return what came of a landscape as lines of a table."""
    lines = [
        "| search | found, over the root | less than `plus` by | says |",
        "|---|---|---|---|",
    ]
    for arm, values in found.items():
        mean, half = interval(values)
        row = f"| {arm} | {mean:+.4f} ± {half:.4f} |"
        if arm == "plus":
            lines.append(f"{row} | |")
            continue
        less, around_it = interval([a - b for a, b in zip(found["plus"], values, strict=True)])
        said = "within the interval" if abs(less) <= around_it else "the part pays" if less > 0 else "the part costs"
        if not arm.startswith("without"):
            said = said.replace("the part pays", "plus is better").replace("the part costs", "plus is worse")
        lines.append(f"{row} {less:+.4f} ± {around_it:.4f} | {said} |")
    gains = gains_of_moves(landscape, 20)
    size = statistics.fmean(abs(g) for g in gains)
    small = statistics.fmean(abs(g) < NOISE for g in gains)
    return [f"## {landscape}", "", f"A move from the root changes AP by {size:.3f} on average; {small:.0%} of them by "
            f"less than the noise of one training.", "", *lines, ""]  # fmt: skip


def head(seeds: int) -> list[str]:
    """Return what the tables are about."""
    return [
        "# Which parts of `plus` pay: a simulation",
        "",
        f"    uv run python benchmarks/search_parts.py --seeds {seeds}",
        "",
        f"Nothing was trained. On made-up landscapes, new for every seed, {seeds} searches of a kind had the steps",
        f"of {TRAININGS} whole children each, controls and rungs counted, the root's not; budget twice the root's,",
        "serial phase only. The AP of a training is the net's true quality, what training on has brought (at most",
        f"{DRIFT:g}; {FAR[0]:g} in the last table), and luck of standard deviation {NOISE:g} that correlates",
        f"{INHERITED:g} with that of the weights it began with (measured: results/luck.md). After a third of its steps",
        f"a child shows {EARLY_GAIN:g} of its move's gain, less {EARLY_SHOCK:g}; what is new in its luck correlates",
        f"{EARLY_KINSHIP:g} with that at the end. What was found is the net within the budget that would go",
        "into the finals first; numbers are its true quality. Intervals are of 95 %; differences are paired by seed.",
        "`twin` changes what is judged, not what is found, and is left out. Real landscapes, noise and drift differ:",
        "here depth always pays somewhere, and how fast a net learns from scratch has no part in it. This says which",
        "part can pay where, not that it does on your data; results/searches.md has a real search where it did not.",
        "",
    ]


def main() -> None:
    """Play all searches and print, or write, a table for each landscape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--only", choices=LANDSCAPES, help="one landscape")
    chosen = parser.parse_args()
    began, lines = time.process_time(), head(chosen.seeds)
    for landscape in (chosen.only,) if chosen.only else LANDSCAPES:
        found = {arm: [play(arm, landscape, seed) for seed in range(chosen.seeds)] for arm in ARMS}
        lines += table(landscape, found)
        print("\n".join(lines[-len(ARMS) - 8 :]), flush=True)
    print(f"{time.process_time() - began:.0f} s of CPU time", file=sys.stderr)
    if chosen.write:
        chosen.write.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
