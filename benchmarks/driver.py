"""How much the part of a search that decides costs, and how well it keeps workers busy.

Nothing is trained: an outcome is made up from the architecture, with noise, and every twentieth fails. Costs are those
of `spnas.config.spend`. For busy workers the clock is made up as well.

    uv run python benchmarks/driver.py                        # rates without and with a ledger, memory, busy shares
    uv run python benchmarks/driver.py --most 10000 rates     # one part, and no further than so many outcomes
    uv run python benchmarks/driver.py rates --ledger none --root "basic: 16x4 / 32x4 / 64x6 / 128x4"
"""

import argparse
import heapq
import math
import multiprocessing
import os
import platform
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from spnas.arch import Arch, Candidate, Outcome, parse
from spnas.arch.space import around
from spnas.config import spend
from spnas.rng import rng
from spnas.runs.ledger import Ledger
from spnas.search.archive import Archive, newest_that_counts
from spnas.search.budget import Budget
from spnas.search.objective import Objective
from spnas.search.phases import serial
from spnas.search.rules import rules_of
from spnas.search.settings import LAG, Plan, SearchSettings
from spnas.study import Done, Job, Study, run_phase

ROOT = "basic: 16x2 / 32x2 / 64x2 / 128x2"
COST = partial(spend, size=(240, 320))
NOISE, FAILING = 0.04, 20
MARKS = (100, 10_000, 100_000)
WORKERS = {1: 400, 2: 400, 10: 800, 100: 2000, 1000: 6000}  # how many candidates busy shares are taken from
PLAN = Plan(candidates=10**9, root_steps=240, child_steps=30, final_steps=240, finalists=1, seeds=3)


def settings_of(preset: str, lag: int = LAG, *, root: str = ROOT) -> SearchSettings:
    """Return a search without end for twice the cost of its root; around a small one new nets run out in the end."""
    arch = parse(root)
    bound = 2 * COST(arch).gmacs
    return SearchSettings(
        root=arch,
        space=around(arch),
        budget=Budget(gmacs=bound),
        plan=PLAN,
        preset=preset,
        rules=rules_of(preset),
        phases=("serial",),
        objective=Objective(reference=bound),
        lag=lag,
    )


def outcome(candidate: Candidate) -> Outcome:
    """Make up what a training gives: early depth is worth most."""
    if candidate.number % FAILING == FAILING - 1:
        return Outcome(number=candidate.number, failure="RuntimeError: made up")
    arch: Arch = candidate.arch
    depth = sum(len(stage) / (1 + i) for i, stage in enumerate(arch.stages))
    luck = NOISE * float(rng(0, "luck", candidate.number).standard_normal())
    ap = 0.3 + 0.05 * math.log(depth) + luck
    return Outcome(
        number=candidate.number,
        metrics={"ap": ap, "ap50": 1.5 * ap},
        early={"ap": ap} if candidate.look is not None else {},
        gmacs=1.0,
        params=10**6,
        weights=f"weights/{candidate.number:05d}.safetensors",
        sha256="0" * 64,
    )


def resident_kib() -> float:
    """Return how much memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


class Mark(msgspec.Struct, frozen=True):
    """What the clocks and the memory said when there were so many outcomes, and so many before."""

    count: int
    window: int
    seconds: float
    cpu_seconds: float
    kib: float


class Watch:
    """Takes marks as outcomes come in: the last tenth before each of `MARKS` is what is timed."""

    def __init__(self) -> None:
        self.marks = list[Mark]()
        self._began = (0.0, 0.0)

    def tell(self, count: int) -> None:
        """Say that there are so many outcomes."""
        for mark in MARKS:
            if count == mark - self._window(mark):
                self._began = time.perf_counter(), time.process_time()
            elif count == mark:
                wall, cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
                self.marks.append(Mark(mark, self._window(mark), wall, cpu, resident_kib()))

    @staticmethod
    def _window(mark: int) -> int:
        return min(mark // 2, 5000)


def in_memory(preset: str, most: int, root: str) -> list[Mark]:
    """Propose and learn, one after the other."""
    settings, watch = settings_of(preset, root=root), Watch()
    archive, outcomes, counted = Archive(settings.rules, settings.objective, COST), list[Outcome](), 0
    for number in range(most + 1):
        watch.tell(number)
        while counted < min(newest_that_counts(number, settings.lag) + 1, number):
            archive.learn(outcomes[counted])
            counted += 1
        candidate = serial.propose(number, archive, settings, COST)
        if candidate is None:
            raise RuntimeError(f"nothing to propose after {number} candidates")
        archive.see(candidate)
        outcomes.append(outcome(candidate))
    return watch.marks


class AtOnce:
    """An executor that answers at once."""

    def submit(self, job: bytes) -> Future[bytes]:
        """Do the job now."""
        future: Future[bytes] = Future()
        candidate = msgspec.json.decode(job, type=Job).candidate
        future.set_result(msgspec.json.encode(Done(outcome=outcome(candidate))))
        return future

    def close(self, *, kill: bool = False) -> None:
        """Nothing is open."""


def with_ledger(preset: str, most: int, root: str) -> list[Mark]:
    """Run the same search as a study with a ledger on disk, every write synchronous."""
    settings, watch = settings_of(preset, root=root), Watch()

    def propose(number: int, archive: Archive) -> Candidate | None:
        watch.tell(number)
        return None if number > most else serial.propose(number, archive, settings, COST)

    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
        study = Study(ledger, Archive(settings.rules, settings.objective, COST), lag=settings.lag)
        run_phase(study, AtOnce(), propose, workers=settings.lag)
    return watch.marks


def busy_share(workers: int, lag: int) -> tuple[float, int]:
    """Return the share of time that workers of unequal speed are busy, from the root's outcome to the last proposal,
    and how many outcomes there were. A worker may be three times as fast as another; a failure comes at any time."""
    settings, count = settings_of("plus", lag), WORKERS[workers]
    archive, outcomes, counted = Archive(settings.rules, settings.objective, COST), dict[int, Outcome](), 0
    pace = rng(0, "workers").uniform(0.5, 1.5, workers).tolist()
    idle, running = list(range(workers)), list[tuple[float, int, int]]()
    now = began = busy = 0.0
    number = 0
    while number < count:
        while counted < number and counted <= newest_that_counts(number, lag) and counted in outcomes:
            archive.learn(outcomes[counted])
            counted += 1
        ready = counted > newest_that_counts(number, lag) or number == 0
        candidate = serial.propose(number, archive, settings, COST) if ready and idle else None
        if candidate is None:
            if not running:
                raise RuntimeError(f"nothing to propose after {number} candidates")
            now, done, worker = heapq.heappop(running)
            outcomes[done] = outcome(archive.candidates[done])
            idle.append(worker)
            began = began or now
            continue
        archive.see(candidate)
        worker = idle.pop(0)
        draw = rng(1, "trainings", number)
        part = float(draw.uniform()) if (number % FAILING == FAILING - 1) else float(draw.uniform(0.9, 1.1))
        begun = archive.candidates[candidate.continues].steps_here if candidate.continues is not None else 0
        seconds = (candidate.steps_here - begun) * pace[worker] * part
        if number:
            busy += seconds
        heapq.heappush(running, (now + seconds, number, worker))
        number += 1
    unfinished = sum(end - now for end, _, _ in running)
    return (busy - unfinished) / (workers * (now - began)), count


def rates(most: int, root: str, ledgers: list[str]) -> list[str]:
    """Return the table of rates and memory, each line from a process of its own."""
    lines = [
        "| preset | ledger | outcomes | proposals/s | CPU ms per proposal | KiB per outcome |",
        "|---|---|---|---|---|---|",
    ]
    ratios = []
    for name in ledgers:
        measure = in_memory if name == "none" else with_ledger
        for preset in ("plus", "paper"):
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawn) as process:
                marks = process.submit(measure, preset, most, root).result()
            for before, mark in zip([None, *marks], marks, strict=False):
                grown = f"{(mark.kib - before.kib) / (mark.count - before.count):.1f}" if before else ""
                lines.append(
                    f"| {preset} | {name} | {mark.count:,} | {mark.window / mark.seconds:,.0f} | "
                    f"{1e3 * mark.cpu_seconds / mark.window:.2f} | {grown} |"
                )
            costs = {mark.count: mark.cpu_seconds / mark.window for mark in marks}
            if MARKS[2] in costs:
                ratios.append(f"{preset}, ledger {name}: {costs[MARKS[2]] / costs[MARKS[1]]:.2f}")
    if ratios:
        lines += ["", f"CPU time per proposal at {MARKS[2]:,} outcomes over that at {MARKS[1]:,}: {'; '.join(ratios)}."]
    return lines


def shares(most: int) -> list[str]:
    """Return the table of busy shares."""
    lines = ["| workers | lag 4 | workers' worth | lag = workers | lag = 4 x workers |", "|---|---|---|---|---|"]
    for workers in (w for w, count in WORKERS.items() if count <= most):
        four, same, more = (busy_share(workers, lag)[0] for lag in (LAG, workers, 4 * workers))
        lines.append(f"| {workers:,} | {four:.1%} | {four * workers:.1f} | {same:.1%} | {more:.1%} |")
    return lines


def main() -> None:
    """Measure, and print what came of it as tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", choices=["rates", "shares", []], default=[])
    parser.add_argument("--most", type=int, default=MARKS[-1])
    parser.add_argument("--root", default=ROOT, help="of the search whose rates are measured")
    parser.add_argument("--ledger", action="append", choices=["none", "on disk"])
    chosen = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for name in chosen.parts or ("rates", "shares"):
        if name == "shares":
            table = shares(chosen.most)
        else:
            table = rates(chosen.most, chosen.root, chosen.ledger or ["none", "on disk"])
        print("\n" + "\n".join(table), flush=True)


if __name__ == "__main__":
    main()
