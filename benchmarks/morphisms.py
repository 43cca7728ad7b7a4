"""What a child is worth on its first day: inherited as here, inherited as in the authors' release, and from scratch.

For one move of every kind: how far the child's pyramid is from its parent's on pictures that nothing was measured on,
and the AP after 0, 50 and 100 steps of training, mean and standard deviation over seeds, on generated pictures.

    uv run python benchmarks/morphisms.py --quick      # a small parent, 3 seeds: some ten minutes on one core
    uv run python benchmarks/morphisms.py              # a better trained parent, 5 seeds
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import nn

from spnas.arch import Arch, Move, parse
from spnas.arch.move import Origins, apply, keeps_function, origins
from spnas.assess import CHILD_RATE, threads
from spnas.data.batches import Pictures, Resize, eval_batches, train_batch
from spnas.data.generate import GeneratorSettings, generate
from spnas.data.open import open_data
from spnas.evaluate.detect import detect
from spnas.evaluate.metrics.coco import score
from spnas.morph import departure, inherit, kept_projections
from spnas.nets.backbone import Backbone
from spnas.nets.detectors import faster_rcnn
from spnas.nets.settings import PRESETS as NETS
from spnas.rng import torch_seed
from spnas.train.loop import TrainKey, train
from spnas.train.settings import PRESETS as TRAININGS

SERIAL, PARALLEL = "basic: 12x2 / 24x2 / 48x2 / 48x2", "basic: 12x2 / 24x2 / 48x2 / 48x2 + 0-1-1-0"
MOVES = (
    (SERIAL, Move("expand-block", 3, 1)),
    (SERIAL, Move("expand-stage")),
    (SERIAL, Move("swap-boundary", 2, 1)),
    (SERIAL, Move("swap-boundary", 2, -1)),
    (SERIAL, Move("swap-doubling", 1, -1)),
    (SERIAL, Move("swap-doubling", 1, 1)),
    (SERIAL, Move("narrow", 1)),
    (SERIAL, Move("remove-block", 3)),
    (SERIAL, Move("add-copy", 2)),
    (PARALLEL, Move("remove-copy", 2)),
)
STEPS = (0, 50, 100)
STARTS = ("ours", "authors'", "scratch")


class World(NamedTuple):
    """What everything is trained and judged on."""

    train: Pictures
    val: Pictures
    classes: int


class Row(NamedTuple):
    """One start of one child: departure on unseen pictures, None where there is no parent, and AP by steps."""

    departure: float | None
    ap: dict[int, float]


def make(arch: Arch, world: World, seed: int, projections: frozenset[int] = frozenset()) -> Any:
    """Build a detector with fresh weights."""
    torch.manual_seed(torch_seed(seed, "init"))
    return faster_rcnn.build(Backbone(arch, projections=projections), classes=world.classes, settings=NETS["small"])


def learn(detector: nn.Module, world: World, *, steps: int, seed: int, child: bool) -> float:
    """Train for so many steps and return the AP; a child and its parent's control see the same batches."""
    settings = TRAININGS["small"]
    if child:
        settings = msgspec.structs.replace(settings, rate=settings.rate * CHILD_RATE)
    if steps:
        train(
            detector,
            lambda step: train_batch(
                world.train, batch_size=settings.batch_size, step=step, seed=seed, candidate=int(child)
            ),
            settings,
            steps=steps,
            key=TrainKey(seed, int(child)),
        )
    found = detect(detector.eval(), eval_batches(world.val, batch_size=16))
    return score(world.val.annotations, found).values["ap"]


@torch.no_grad()
def authors_start(child: Any, parent: Any, from_where: Origins) -> None:
    """Copy what has the same name in its block and the same shape; a new block's norms and a new shortcut's are zero.

    Neck and head are copied in the same way, which is more than the authors' release does.
    """
    old_blocks = parent.backbone.blocks()
    for block, origin in zip(child.backbone.blocks(), from_where, strict=True):
        old = old_blocks[origin].state_dict() if origin is not None else {}
        mine = block.state_dict()
        block.load_state_dict({k: v for k, v in old.items() if k in mine and mine[k].shape == v.shape}, strict=False)
        for name, module in block.named_modules():
            if isinstance(module, nn.BatchNorm2d) and f"{name}.weight" not in old:
                nn.init.zeros_(module.weight)
    rest = {k: v for k, v in parent.state_dict().items() if not k.startswith("backbone.stages")}
    mine = child.state_dict()
    child.load_state_dict({k: v for k, v in rest.items() if k in mine and mine[k].shape == v.shape}, strict=False)


def begin(start: str, move: Move, parent: Any, world: World, seed: int) -> Any:
    """Build a child and let it start."""
    arch = parent.backbone.arch
    young, from_where = apply(arch, move), origins(arch, (move,))
    if start == "ours":
        child = make(young, world, seed + 1, kept_projections(parent.backbone, young, from_where))
        inherit(child, parent, from_where, pictures=next(eval_batches(world.train, batch_size=16)).images)
    else:
        child = make(young, world, seed + 1)
        if start == "authors'":
            authors_start(child, parent, from_where)
    return child.eval()


def measure(start: str, move: Move, parent: Any, world: World, seed: int) -> Row:
    """Measure one start of one child."""
    unseen = next(eval_batches(world.val, batch_size=32)).images
    first = begin(start, move, parent, world, seed)
    gap = departure(first, parent, unseen) if start != "scratch" else None
    return Row(
        gap,
        {
            steps: learn(
                begin(start, move, parent, world, seed), world, steps=steps, seed=seed, child=start != "scratch"
            )
            for steps in STEPS
        },
    )


def over_seeds(rows: list[Row]) -> str:
    """Return the cells of one line."""
    gaps = [row.departure for row in rows if row.departure is not None]
    cells = [f"{statistics.mean(gaps):.2g}" if gaps else "-"]
    for steps in STEPS:
        aps = [row.ap[steps] for row in rows]
        cells.append(f"{statistics.mean(aps):.3f} ± {statistics.stdev(aps) if len(aps) > 1 else 0:.3f}")
    return " | ".join(cells)


def table(parents: dict[str, list[Any]], world: World, seeds: range, tell: Callable[[str], None]) -> Iterator[str]:
    """Yield the lines of the table, as soon as they are known."""
    yield "| move | exact | start | departure | " + " | ".join(f"AP after {s}" for s in STEPS) + " |"
    yield "|---|---|---|---|" + "---|" * len(STEPS)
    for text, name in ((SERIAL, "none: the parent, trained on"), (PARALLEL, "none, of the parallel parent")):
        rows = [
            Row(0.0, {s: learn(copy_of(p, world), world, steps=s, seed=seed, child=True) for s in STEPS})
            for p, seed in zip(parents[text], seeds, strict=True)
        ]
        yield f"| {name} | yes | ours | {over_seeds(rows)} |"
    for text, move in MOVES:
        exact = "yes" if keeps_function(parse(text), move) else "no"
        for start in STARTS:
            tell(f"{move}, {start}")
            rows = [measure(start, move, p, world, seed) for p, seed in zip(parents[text], seeds, strict=True)]
            yield f"| {move} | {exact} | {start} | {over_seeds(rows)} |"


def copy_of(parent: Any, world: World) -> Any:
    """Return a detector of the same weights."""
    twin = make(parent.backbone.arch, world, 0, parent.backbone.projections)
    twin.load_state_dict(parent.state_dict())
    return twin.eval()


def main() -> None:
    """Measure, print, and write the table down."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "morphisms.md")
    options.add_argument("--machine", default=platform.processor() or platform.machine())
    chosen = options.parse_args()
    steps, seeds = (400, range(3)) if chosen.quick else (2000, range(5))
    threads(1)
    began = time.monotonic()

    def tell(words: str) -> None:
        print(f"[{time.monotonic() - began:.0f} s] {words}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        data = GeneratorSettings(train=240, val=60, side_px=64, objects=(1, 3), size_px=(12, 36))
        generate(Path(folder) / "shapes", data)
        opened = open_data(Path(folder) / "shapes")
        world = World(
            Pictures(opened.train, Resize(None, 64)), Pictures(opened.val, Resize(None, 64)), len(data.classes)
        )
        parents: dict[str, list[Any]] = {}
        for text in (SERIAL, PARALLEL):
            parents[text] = [make(parse(text), world, seed) for seed in seeds]
            for seed, parent in zip(seeds, parents[text], strict=True):
                ap = learn(parent, world, steps=steps, seed=seed, child=False)
                tell(f"{text}, seed {seed}: AP {ap:.3f} after {steps} steps")
        lines = list(table(parents, world, seeds, tell))
    about = (
        f"# Morphisms\n\n`{SERIAL}` (and `+ 0-1-1-0`), {steps} steps, {len(seeds)} seeds, {data.train} generated "
        f"pictures of {data.side_px} px, {data.val} to judge on. Machine: {chosen.machine}, torch {torch.__version__}, "
        f"one thread, {time.monotonic() - began:.0f} s.\n\nDeparture: norm of the difference of the pyramids as a "
        "share of the parent's, on pictures that nothing was measured on. AP: mean ± standard deviation over seeds. "
        "Authors' start: shape-matched copy, every norm of a new block and of a new shortcut zero, and, more than in "
        "their release, neck and head copied as well; a new fusion is left random. Differences of AP below the "
        "deviations say nothing.\n\n"
    )
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(about + "\n".join(lines) + "\n")
    print(about + "\n".join(lines))


if __name__ == "__main__":
    main()
