"""How fast this machine trains, measured once, and the plan that fits into the hours a user gives.

The measurement is kept per machine and setting in the user's cache folder, so that the same command makes the same
plan again; plans are on a coarse ladder for the same reason.
"""

import hashlib
import math
import os
import platform
import time
from itertools import pairwise
from pathlib import Path

import msgspec
import torch

from spnas.arch import Arch
from spnas.assess import Recipe
from spnas.assess import threads as set_threads
from spnas.data.batches import Pictures, train_batch
from spnas.errors import UsageError
from spnas.rng import torch_seed
from spnas.runs.files import write_atomic
from spnas.search.settings import LAG, Plan
from spnas.train.loop import make_optimizer, step_loss
from spnas.train.weights import ModelConfig, build

WARM_UP, MEASURED = 2, 8
USABLE = 0.75  # of the hours: the rest goes into evaluation, start-up, and children that cost more than the root
CONTROLS = 1.5  # trainings of the search per child, its share of a control included
ROOT_PER_CHILD = 8  # a root trains as long as so many children
STEPS = tuple(round(100 * 1.25**i / 10) * 10 for i in range(40))  # the ladder: 100, 120, 160, ... steps
LEAST_CANDIDATES, MOST_CANDIDATES = 8, 200
LONGEST_EPOCHS = 48


def seconds_per_step(
    arch: Arch, recipe: Recipe, pictures: Pictures, *, threads: int, cache: Path | None = None
) -> float:
    """Return how long a training step of `arch` takes here, from the cache or from ten steps."""
    key = _key(arch, recipe, pictures, threads)
    store = cache or cache_folder() / "pace.json"
    known = _read(store)
    if key not in known:
        before = torch.get_num_threads()
        set_threads(threads)
        known[key] = round(_measure(arch, recipe, pictures), 5)
        set_threads(before)
        store.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(store, msgspec.json.format(msgspec.json.encode(known)))
    return known[key]


def cache_folder() -> Path:
    """Return where measurements of this machine are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spnas"


def _read(store: Path) -> dict[str, float]:
    try:
        return msgspec.json.decode(store.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.DecodeError):
        return {}


def _key(arch: Arch, recipe: Recipe, pictures: Pictures, threads: int) -> str:
    device = torch.cuda.get_device_name() if recipe.device == "cuda" else platform.processor() or platform.machine()
    known = (arch.text, msgspec.json.encode(recipe), len(pictures), threads, device, platform.node(), torch.__version__)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _measure(arch: Arch, recipe: Recipe, pictures: Pictures) -> float:
    config = ModelConfig(
        detector=recipe.detector,
        arch=arch.text,
        classes=pictures.annotations.classes,
        category_ids=pictures.annotations.category_ids,
        settings=recipe.detector_settings,
        resize=recipe.resize,
    )
    detector = build(config, seed=0).to(recipe.device).to(memory_format=torch.channels_last).train()
    settings = recipe.train_settings
    optimizer = make_optimizer(detector, settings)
    marks = []
    for step in range(WARM_UP + MEASURED + 1):
        marks.append(time.perf_counter())
        batch = train_batch(pictures, batch_size=settings.batch_size, step=step, seed=0)
        rng = torch.Generator().manual_seed(torch_seed(0, "pace", 0, 0, step))
        terms = step_loss(detector, batch, rng, settings.precision)
        loss = float(torch.stack(list(terms.values())).sum().detach())
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        optimizer.step()
        optimizer.zero_grad()
        assert loss == loss
    times = sorted(b - a for a, b in pairwise(marks[WARM_UP:]))
    return times[len(times) // 4]  # low in the order: what else the machine is doing comes and goes


def plan_for(
    hours: float,
    *,
    step_seconds: float,
    workers: int,
    pictures: int,
    batch_size: int,
    seeds: int,
    lag: int = LAG,
    phases: tuple[str, ...] = ("serial", "final"),
    copies_share: float = 0.0,
) -> Plan:
    """Return the plan that fits into `hours`: steps first, up to about 48 epochs a full training, then candidates.

    copies_share: children of the parallel phase, if there is one, per child of the serial phase.

    Raises: UsageError when not even the smallest plan fits.
    """
    usable = hours * 3600 * USABLE / step_seconds  # steps, one after the other
    at_once = min(workers, lag)  # more candidates of a search are never in training together
    longest = max(STEPS[0], LONGEST_EPOCHS * pictures / batch_size)
    parallel = "parallel" in phases
    in_a_row = _trainings_in_a_row(workers, seeds, nets=4 if parallel else 2) if "final" in phases else 1
    per_candidate = CONTROLS * (1 + (copies_share if parallel else 0.0))
    best: Plan | None = None
    for full in STEPS:
        short = max(20, round(full / ROOT_PER_CHILD))
        candidates = int((usable - full * in_a_row) * at_once / (per_candidate * short))
        if candidates < LEAST_CANDIDATES or (best is not None and full > longest):
            break
        best = Plan(
            candidates=_round_down(min(candidates, MOST_CANDIDATES)),
            root_steps=full,
            child_steps=short,
            final_steps=full,
            finalists=1,
            seeds=seeds,
        )
    if best is None:
        least = STEPS[0] * in_a_row + LEAST_CANDIDATES * per_candidate * 20 / at_once
        hours = least * step_seconds / (3600 * USABLE)
        raise UsageError(f"--hours is too short: the smallest search takes about {hours:.2g} hours on this machine")
    return best


def _trainings_in_a_row(workers: int, seeds: int, *, nets: int) -> int:
    """Return full trainings on the way from beginning to end: the root, then the finals, as many at once as can be."""
    return 1 + math.ceil(nets * seeds / workers)


def _round_down(candidates: int) -> int:
    """Put a number of candidates on the ladder 8, 10, 12, 16, 20, 24, 32, 40, ... so that plans are stable."""
    ladder: list[int] = [m << i for i in range(6) for m in (8, 10, 12)]
    return max(n for n in sorted(ladder) if n <= max(candidates, LEAST_CANDIDATES))
