"""How far trainings of one net lie apart, and how much of that a net takes over with the weights it begins with.

Roots of one architecture are trained from scratch, each with weights and batches of its own. Each is trained on twice
as a child would be, with other batches, and each of these once more. `search_parts.py` builds on the numbers.

    OMP_NUM_THREADS=1 uv run python benchmarks/luck.py        # a quarter of an hour on one core
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from morphisms import World, copy_of, make
from numpy.typing import NDArray

from spnas.arch import parse
from spnas.assess import CHILD_RATE, measure, threads
from spnas.data.batches import Pictures, Resize, train_batch
from spnas.data.generate import GeneratorSettings, generate
from spnas.data.open import open_data
from spnas.train.loop import TrainKey, train
from spnas.train.settings import PRESETS as TRAININGS

ARCH = parse("basic: 16x2 / 32x2 / 64x2 / 128x2")
DATA = GeneratorSettings(train=240, val=60, side_px=64, objects=(1, 3), size_px=(12, 36))


class Line(NamedTuple):
    """APs of a root, of two trainings on from it (2,), and of one more from each (2,)."""

    root: float
    once: NDArray[np.float64]
    twice: NDArray[np.float64]


def learn(detector: object, world: World, *, steps: int, seed: int, child: bool) -> float:
    """Train for so many steps, and return the AP."""
    settings = TRAININGS["small"]
    if child:
        settings = msgspec.structs.replace(settings, rate=settings.rate * CHILD_RATE)
    train(
        detector,  # type: ignore[arg-type]
        lambda step: train_batch(world.train, batch_size=settings.batch_size, step=step, seed=seed),
        settings,
        steps=steps,
        key=TrainKey(seed, 0),
    )
    return measure(detector, world.val)["ap"]  # type: ignore[arg-type]


def line_of(root: int, world: World, *, steps: int, child_steps: int) -> Line:
    """Train a root and all that begins with it."""
    first = make(ARCH, world, root)
    ap, once, twice = learn(first, world, steps=steps, seed=root, child=False), list[float](), list[float]()
    for other in (1000, 2000):
        child = copy_of(first, world)
        once.append(learn(child, world, steps=child_steps, seed=other + root, child=True))
        twice.append(learn(child, world, steps=child_steps, seed=other + 500 + root, child=True))
    return Line(ap, np.array(once), np.array(twice))


def shares(values: NDArray[np.float64]) -> tuple[float, float]:
    """Split the spread of (R, 2) APs: standard deviations between roots, and within what began with one root."""
    within = float(((values[:, 0] - values[:, 1]) ** 2 / 2).mean())
    between = max(0.0, float(values.mean(1).var(ddof=1)) - within / 2)
    return between**0.5, within**0.5


def report(lines: list[Line], *, steps: int, child_steps: int) -> list[str]:
    """Return what was measured, as a page."""
    roots = np.array([line.root for line in lines])
    once, twice = np.array([line.once for line in lines]), np.array([line.twice for line in lines])
    kept = float(np.corrcoef(np.repeat(roots, 2), once.ravel())[0, 1])
    kept_then = float(np.corrcoef(once.ravel(), twice.ravel())[0, 1])
    rows = [f"| the root, from scratch | {roots.mean():.3f} | {roots.std(ddof=1):.3f} | |"]
    for name, values in (("trained on once", once), ("trained on twice", twice)):
        between, within = shares(values)
        rows.append(f"| {name} | {values.mean():.3f} | {between:.3f} | {within:.3f} |")
    own = float((once - roots[:, None]).std(ddof=1))
    twins = float((once[:, 0] - once[:, 1]).std(ddof=1))
    return [
        "# How much luck a net inherits",
        "",
        "    OMP_NUM_THREADS=1 uv run python benchmarks/luck.py",
        "",
        f"`{ARCH.text}`, {len(lines)} roots of {steps} steps, trained on for {child_steps}",
        f"steps at a time; 240 generated pictures of 64 px, judged on 60. {platform.machine()}, one thread.",
        "",
        "| | AP | standard deviation between roots | within what began with one root |",
        "|---|---|---|---|",
        *rows,
        "",
        f"AP of a root and of what was trained on from it correlate {kept:.2f}, and {kept_then:.2f} a training later:",
        "luck comes from the weights that a training begins with, and stays for several trainings. So candidates",
        "of one search, which all descend from one root, lie far less apart by luck than trainings from scratch do.",
        "",
        f"What a root gains by training on varies by {own:.3f}; two trainings on from the same root differ by",
        f"{twins:.3f}. So what a net would come to is told nearly as well by its AP and the average gain",
        "of others as by a control of its own (decision 19).",
    ]


def main() -> None:
    """Train all, and write the page down."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--roots", type=int, default=12)
    options.add_argument("--steps", type=int, default=400)
    options.add_argument("--child-steps", type=int, default=100)
    options.add_argument("--write", type=Path, help="a file for the page")
    chosen = options.parse_args()
    threads(1)
    lines = list[Line]()
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder) / "shapes", DATA)
        opened = open_data(Path(folder) / "shapes")
        world = World(
            Pictures(opened.train, Resize(None, 64)), Pictures(opened.val, Resize(None, 64)), len(DATA.classes)
        )
        for root in range(chosen.roots):
            lines.append(line_of(root, world, steps=chosen.steps, child_steps=chosen.child_steps))
            print(f"root {root}: {lines[-1]}", file=sys.stderr, flush=True)
    text = "\n".join(report(lines, steps=chosen.steps, child_steps=chosen.child_steps)) + "\n"
    print(text)
    if chosen.write:
        chosen.write.write_text(text)


if __name__ == "__main__":
    main()
