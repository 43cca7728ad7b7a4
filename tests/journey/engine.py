"""A whole study without torch: real phases, ledger, folder and executors, and an evaluator that only pretends to train.

Its trainings leave checkpoints, and end in weights that hang on every step and on the parent's weights: a step that is
lost, taken twice or taken from a stale file shows in their SHA-256. What it does and what the driver has been told is
written beside the study, so that a test can tell what was done again.

Run as a program it plays the study in the folder that it is given, and exits as the command would.
"""

import hashlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec

from spnas.arch import Arch, Candidate, Outcome, parse
from spnas.arch.space import around
from spnas.errors import USER_FAULTS
from spnas.rng import rng
from spnas.runs import executors, files
from spnas.runs.executors import FileRef, MakeWork
from spnas.runs.folder import RunFolder
from spnas.search import phases as shelf
from spnas.search.archive import Archive
from spnas.search.budget import Budget, Spent
from spnas.search.finalists import Finalists, choose
from spnas.search.objective import Objective
from spnas.search.rival import scaled_resnet
from spnas.search.settings import PHASES, Plan, SearchSettings
from spnas.search.verdict import judge
from spnas.shelf import take
from spnas.study import Done, Job, Study, run_phase

HERE = Path(__file__).resolve().parents[2]
ROOT = parse("basic: 16x1 / 32x1 / 64x1 / 128x1")
PLAN = Plan(
    candidates=14, root_steps=9, child_steps=6, final_steps=9, finalists=1, seeds=2, copies=4, ignite_steps=6, stuck=3
)
DRIFT, LIT, LUCK = 0.05, 0.02, 0.01  # what further training, a re-ignition and chance bring
START = json.dumps({"drift": 0.0, "tensors": "of a root" * 100}).encode()
SECONDS_A_STEP = "SPNAS_ENGINE_SECONDS"


def cost(arch: Arch) -> Spent:
    """Depth weighs more in wide blocks, and a copy as much as its stage."""
    copies = arch.copies or (0,) * len(arch.stages)
    macs = sum((1 + k) * sum(w * w for w in stage) for k, stage in zip(copies, arch.stages, strict=True))
    return Spent(gmacs=macs / 1e5, params=sum(arch.widths))


def settings_of(plan: Plan = PLAN, *, seed: int = 0) -> SearchSettings:
    """Return a search of all phases, with rungs and all that the preset has."""
    budget = Budget(gmacs=2.5 * cost(ROOT).gmacs)
    objective = Objective(reference=2.5 * cost(ROOT).gmacs)
    return SearchSettings(
        root=ROOT, space=around(ROOT), budget=budget, plan=plan, phases=PHASES, objective=objective, seed=seed
    )


def make_work(folder: str) -> Callable[[bytes], bytes]:
    """Return what pretends to train in the study's folder."""
    run, seconds = RunFolder(folder), float(os.environ.get(SECONDS_A_STEP, "0"))

    def work(job: bytes) -> bytes:
        task = msgspec.json.decode(job, type=Job)
        candidate, weights = task.candidate, task.weights
        note(folder, f"begin {candidate.number}")
        parent = files.read_checked(run.path_of(weights.name), weights.sha256) if weights else None
        outcome = train(run, candidate, parent, seconds)
        made = (FileRef(outcome.weights, outcome.sha256),) if outcome.weights and outcome.sha256 else ()
        return msgspec.json.encode(Done(outcome=outcome, files=made))

    return work


def train(run: RunFolder, candidate: Candidate, parent: bytes | None, seconds: float = 0.0) -> Outcome:
    """Pretend to train and judge a candidate, step by step, from its checkpoint if there is one."""
    began = candidate.number if candidate.continues is None else candidate.continues
    progress = run.checkpoint(began)
    progress.mkdir(parents=True, exist_ok=True)
    drift = json.loads(parent)["drift"] if parent else 0.0
    key = [began, candidate.arch.id, candidate.steps, candidate.seed, hashlib.sha256(parent or b"").hexdigest()]
    file, step, state = progress / "training.json", 0, hashlib.sha256(json.dumps(key).encode()).hexdigest()
    if file.exists() and (kept := json.loads(file.read_bytes()))["key"] == key:
        step, state = kept["step"], kept["state"]
    until = candidate.steps_here
    while step < until:
        time.sleep(seconds)
        step, state = step + 1, hashlib.sha256(f"{state} {step}".encode()).hexdigest()
        if step % 3 == 0 or step == until:
            files.write_atomic(file, json.dumps({"key": key, "step": step, "state": state}).encode())
    return judged(run, candidate, parent=parent is not None, drift=drift, began=began, state=state)


def judged(run: RunFolder, candidate: Candidate, *, parent: bool, drift: float, began: int, state: str) -> Outcome:
    """Answer as a worker would, with the same luck whenever it is asked, and leave the weights in their place."""
    drift += (DRIFT if parent else 0.0) + (LIT if candidate.role == "reignite" else 0.0)
    depth = sum(1 / (1 + i) for i, stage in enumerate(candidate.arch.stages) for _ in stage)
    value = 0.3 + 0.05 * math.log(depth) + 0.004 * sum(candidate.arch.copies)
    value += LUCK * float(rng(candidate.seed, "luck", began).standard_normal())
    digest, path = None, run.weights(candidate.number)
    if candidate.until is None:
        tensors = hashlib.shake_256(state.encode()).hexdigest(2000)
        data = json.dumps({"drift": drift, "tensors": tensors}).encode()
        files.write_atomic(path, data)
        digest = hashlib.sha256(data).hexdigest()
        shutil.rmtree(run.checkpoint(began), ignore_errors=True)
    spent = cost(candidate.arch)
    return Outcome(
        number=candidate.number,
        metrics={"ap": value * candidate.steps_here / candidate.steps + drift, "ap50": value + drift},
        early={"ap": value * candidate.look / candidate.steps + drift} if candidate.look is not None else {},
        gmacs=spent.gmacs,
        params=spent.params,
        weights=f"weights/{path.name}" if digest else None,
        sha256=digest,
        seconds=time.monotonic(),
    )


def play(
    root: Path,
    *,
    executor: str = "inline",
    workers: int = 1,
    plan: Plan = PLAN,
    seed: int = 0,
    phases: tuple[str, ...] = PHASES,
    make: MakeWork = make_work,
    **limits: float,
) -> str:
    """Play the study in `root` to its end, or go on with it, and return its canonical dump."""
    folder, search = RunFolder(root), settings_of(plan, seed=seed)
    search = msgspec.structs.replace(search, phases=phases)
    with folder.lock():
        if not folder.begun:
            files.write_atomic(folder.start, START)
        start = FileRef(folder.start.name, hashlib.sha256(START).hexdigest())
        folder.begin(msgspec.json.encode({"schema": 0, "search": search, "start": start.sha256}))
        with folder.open_ledger() as ledger:
            study = Study(ledger, Archive(search.rules, search.objective, cost), lag=search.lag, start=start)
            run_phases(study, search, folder, executor=executor, workers=workers, make=make, limits=limits)
            finish(study, search, folder)
            return ledger.dump()


def run_phases(
    study: Study,
    search: SearchSettings,
    folder: RunFolder,
    *,
    executor: str,
    workers: int,
    make: MakeWork,
    limits: dict[str, float],
) -> None:
    """Run the phases as the command does, and write down beside the study which outcomes it has on record."""
    noted = set(study.outcomes)

    def watch(_running: list[Candidate]) -> None:
        for number in sorted(study.outcomes.keys() - noted):  # all of these were committed by the last write
            noted.add(number)
            note(str(folder.root), f"done {number}")

    crew = take(executors, executor).open(make, str(folder.root), workers=workers, **limits)
    try:
        for phase in search.phases:
            if phase == "final":
                settle(study, search)
            if study.is_over(phase):
                continue
            propose = partial(take(shelf, phase).propose, settings=search, cost=cost)
            run_phase(study, crew, propose, workers=workers, watch=watch)
            if phase != "final":
                study.end(phase)
        crew.close()
    except BaseException:
        crew.close(kill=True)
        raise
    finally:
        study.heartbeat(now=True)


def settle(study: Study, search: SearchSettings) -> Finalists:
    """Settle who goes into the finals, once."""
    finalists = study.ledger.noted("finalists", Finalists)
    if finalists is None:
        nets = choose(study.archive, search, cost)
        target = cost(nets[0].arch).gmacs
        rival = scaled_resnet("basic", target=target, measure=lambda a: cost(a).gmacs, width=16, width_step=1)
        finalists = Finalists(nets=nets, rival=rival)
        study.ledger.note("finalists", finalists)
    study.archive.finalists = finalists
    return finalists


def finish(study: Study, search: SearchSettings, folder: RunFolder) -> None:
    """Judge the finals, publish the best net and write a page."""
    good = [c for c in study.candidates if c.role in ("final", "rival") and not study.outcomes[c.number].failure]
    values = {c.number: study.outcomes[c.number].metrics["ap"] for c in good}
    ours = [values[c.number] for c in good if c.role == "final" and c.finalist == 0]
    theirs = [values[c.number] for c in good if c.role == "rival"]
    if "final" in search.phases and ours and theirs:
        verdict = judge(settle(study, search).nets[0].candidate, ours, theirs, [])
        study.ledger.note("verdict", verdict)
        best = study.outcomes[max(values, key=lambda n: (values[n], -n))]
        model = files.read_checked(folder.path_of(str(best.weights)), str(best.sha256))

        def write(into: Path) -> None:
            sums = {}
            for name, data in {"model.safetensors": model, "config.json": b'{"by": "engine"}'}.items():
                files.write_atomic(into / name, data)
                sums[name] = hashlib.sha256(data).hexdigest()
            files.write_atomic(into / "manifest.json", json.dumps({"sha256": sums}).encode())

        folder.publish_best(write)
        files.write_atomic(folder.report, verdict.sentence.encode())


def note(folder: str, line: str) -> None:
    """Write a line beside the study, in one go."""
    file = os.open(f"{folder}.trace", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def done_again(root: Path) -> list[int]:
    """Return candidates that were begun although the driver had their outcome on record."""
    done, again = set(), []
    for line in Path(f"{root}.trace").read_text().splitlines():
        word, number = line.split()
        if word == "done":
            done.add(int(number))
        elif int(number) in done:
            again.append(int(number))
    return again


def on_record(root: Path) -> set[int]:
    """Return the candidates whose outcomes the driver had on record."""
    path = Path(f"{root}.trace")
    lines = path.read_text().splitlines() if path.exists() else []
    return {int(line.split()[1]) for line in lines if line.startswith("done ")}


def files_in(root: Path) -> dict[str, str]:
    """Return what a finished study leaves, by its SHA-256: weights, what is published, the page; no half files."""
    kept = [p for p in sorted(root.rglob("*")) if p.is_file() and p.name not in ("lock", "ledger.sqlite")]
    return {str(p.relative_to(root)): files.sha256(p) for p in kept if "checkpoints" not in p.parts}


def main(arguments: list[str]) -> NoReturn:
    """Play as the command does: the same exit codes, one line for a fault."""
    root, options = arguments[0], json.loads(arguments[1]) if len(arguments) > 1 else {}
    try:
        sys.stdout.write(play(Path(root), **options))
    except USER_FAULTS as fault:
        sys.stderr.write(f"{' '.join(str(fault).split())}\n")
        sys.exit(fault.exit_code)
    sys.exit(0)


def command(root: Path, **options: object) -> list[str]:
    """Return the command line of a study in a process of its own."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); from tests.journey.engine import main; main(sys.argv[2:])"
    return [sys.executable, "-c", program, str(HERE), str(root), json.dumps(options)]
