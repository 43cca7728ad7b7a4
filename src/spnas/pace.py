"""How fast this machine trains, measured once, and the plan that fits into the hours a user gives.

The measurement is kept per machine and setting in the user's cache folder, where that can be written, so that the
same command makes the same plan again; plans are on a coarse ladder for the same reason.
"""

import contextlib
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
from spnas.errors import ResourceError, UsageError
from spnas.rng import torch_seed
from spnas.runs.files import write_atomic
from spnas.search.forecast import Habits, lay_out, whole
from spnas.search.rules import Rules
from spnas.search.settings import LAG, Plan
from spnas.search.tempo import CROWDED, Tempo
from spnas.train.loop import make_optimizer, step_loss
from spnas.train.weights import ModelConfig, build

WARM_UP, MEASURED = 2, 8
USABLE = 0.85  # of the hours: what is expected to be used; a search may do more than is usual, machines are not even
SEARCH_VAL, VAL = 0.2, 0.25  # pictures that are judged, per picture that is learned from, in the search and the finals
LOOK = 0.4  # judging a picture, in units of learning from it once
BEGIN_STEPS = 4.0  # beginning a training: reading weights, fitting a child to its parent, writing weights
START_SECONDS = 20.0  # from the command to the first step, and from the last to the report
IGNITE_SHARE = 0.5  # steps of a classifier per step of a root; they are quicker, too
ROOT_PER_CHILD = 8  # a root trains as long as so many children
STEPS = tuple(round(100 * 1.25**i / 10) * 10 for i in range(40))  # the ladder: 100, 120, 160, ... steps
LEAST_CANDIDATES, MOST_CANDIDATES = 8, 200
LEAST_TO_RELIGHT = 20  # candidates: a re-ignition takes the place of 12, and comes after some without growth
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
        with contextlib.suppress(OSError, UsageError, ResourceError):  # it can be measured again
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
        loss = torch.stack(list(terms.values())).sum()
        loss.item()  # as a training does, which waits for it
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
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
    rules: Rules = Rules(),  # noqa: B008  # frozen
    crowded: float | None = None,
    candidates: int | None = None,
    copies: int | None = None,
) -> Plan:
    """Return the plan that fits into `hours`: steps first, up to about 48 epochs a full training, then candidates.

    Every plan that is looked at is laid out as its workers would train it (`search.forecast`), from the seconds of a
    step of the root alone.

    copies_share: children of the parallel phase, if there is one, per child of the serial phase.
    crowded: a step beside as many others as there are workers here, in units of one alone, where it was measured.
    candidates, copies: of the serial and of the parallel phase, where they were asked for; then only steps are chosen.

    Raises: UsageError when not even the smallest plan fits.
    """
    longest = max(STEPS[0], LONGEST_EPOCHS * pictures / batch_size)
    relights = "reignite" in phases and "serial" in phases
    fewest = LEAST_TO_RELIGHT if relights else LEAST_CANDIDATES
    picture = step_seconds / batch_size
    tempo = Tempo(
        step=step_seconds,
        crowded=1.0 if workers == 1 else crowded or CROWDED,
        begin=BEGIN_STEPS * step_seconds,
        look=LOOK * SEARCH_VAL * pictures * picture,
        final_look=LOOK * VAL * pictures * picture,
    )
    habits = Habits(ignitions=int(relights))

    def seconds(plan: Plan) -> float:
        """Lay out a plan together with what follows from it (`tasks.plan.completed`)."""
        parallel = "parallel" in phases
        full = msgspec.structs.replace(
            plan,
            copies=(copies or math.ceil(copies_share * plan.candidates)) if parallel else 0,
            finalists=plan.finalists + 2 * parallel,
            ignite_steps=round(IGNITE_SHARE * plan.root_steps),
        )
        trainings = whole(full, rules, phases, habits)
        ends = lay_out(trainings, seconds=lambda t, alone: tempo.seconds(t, alone=alone), workers=workers, lag=lag)
        return START_SECONDS + ends[-1]

    ladder = [candidates] if candidates else [n for n in _ladder() if n >= fewest]
    best: Plan | None = None
    for steps in STEPS:
        fitting = [n for n in ladder if seconds(_plan(n, steps, seeds)) <= hours * 3600 * USABLE]
        if not fitting or (best is not None and steps > longest):
            break
        best = _plan(max(fitting), steps, seeds)
    if best is None:
        least = seconds(_plan(min(ladder), STEPS[0], seeds)) / (3600 * USABLE)
        raise UsageError(f"--hours is too short: the smallest search takes about {least:.2g} hours on this machine")
    return best


def _plan(candidates: int, full_steps: int, seeds: int) -> Plan:
    """Return a plan whose children are trained for an eighth of a full training."""
    return Plan(
        candidates=candidates,
        root_steps=full_steps,
        child_steps=max(20, round(full_steps / ROOT_PER_CHILD)),
        final_steps=full_steps,
        finalists=1,
        seeds=seeds,
    )


def _ladder() -> list[int]:
    """Return the numbers of candidates of a plan, 8, 10, 12, 16, 20, 24, 32, ...: coarse, so that plans are stable."""
    return [n for n in sorted(m << i for i in range(6) for m in (8, 10, 12)) if n <= MOST_CANDIDATES]
