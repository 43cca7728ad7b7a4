"""The loop that keeps the workers of a study busy: propose, submit, record.

It knows neither torch nor data, only a proposer, an executor and a ledger. There is no state but the ledger's: a
candidate without an outcome is unfinished, whatever the reason, and is done again when the study goes on.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait

import msgspec

from spnas.arch import Candidate, Outcome
from spnas.errors import IntegrityError, ResourceError, UsageError, escape
from spnas.runs.executors import Executor, FileRef, WorkerDied, WorkFailed
from spnas.runs.ledger import Ledger
from spnas.search.archive import Archive, newest_that_counts
from spnas.search.objective import Objective

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_HEARTBEATS = 5.0
LONGEST_REASON = 500  # characters
# what is wrong with the place and not with the candidate: it would fail every other candidate too
_FAULTS_THAT_STOP: dict[str, type[ResourceError | IntegrityError | UsageError]] = {
    "ResourceError": ResourceError,
    "OSError": ResourceError,
    "FileNotFoundError": ResourceError,
    "PermissionError": ResourceError,
    "IntegrityError": IntegrityError,
    "DataError": UsageError,
    "UsageError": UsageError,
}

Propose = Callable[[int, Archive], Candidate | None]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told: the candidate, and the weights that it starts from, in the study's folder; `files` are
    all files that it needs."""

    candidate: Candidate
    weights: FileRef | None = None
    files: tuple[FileRef, ...] = ()


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker answers: the outcome, and all files that it made."""

    outcome: Outcome
    files: tuple[FileRef, ...] = ()


class PhaseEnd(msgspec.Struct, frozen=True):
    """Where a phase ended: the number of the first candidate after it."""

    number: int


class Study:
    """Candidates, outcomes and archive of a study, kept in step with its ledger, and its time over all sittings.

    start: weights in the study's folder that roots begin with.
    """

    def __init__(self, ledger: Ledger, archive: Archive, *, lag: int, start: FileRef | None = None) -> None:
        self.ledger, self.archive, self.lag, self.start = ledger, archive, lag, start
        self.candidates: list[Candidate] = []
        self.outcomes = dict(ledger.outcomes())
        self.earlier_seconds = ledger.elapsed_seconds()
        notes = (ledger.notes(prefix, PhaseEnd) for prefix in ("phase ", "drained "))
        self._ends = {end.number for found in notes for end in found.values()}
        self._counted = 0  # outcomes below this number are in the archive
        self._began = self._beat = time.monotonic()
        for candidate in ledger.candidates():
            self._count_for(candidate.number)
            self._see(candidate)
        self._count_for(len(self.candidates))  # what counts where a phase ended counts for who asks next, too

    @property
    def seconds(self) -> float:
        """Time spent on this study, over all sittings."""
        return self.earlier_seconds + time.monotonic() - self._began

    def is_over(self, phase: str) -> bool:
        """Whether a phase came to its end."""
        return self.ledger.noted(f"phase {phase}", PhaseEnd) is not None

    def end(self, phase: str) -> None:
        """Put on record that a phase is over; all its outcomes count for what comes next."""
        number = len(self.candidates)
        self.ledger.note(f"phase {phase}", PhaseEnd(number))
        self._ends.add(number)
        self._count_for(number)

    def drain(self) -> bool:
        """Let all outcomes count for the next candidate, where a proposer had nothing to propose without them; say
        whether there were any."""
        number = len(self.candidates)
        if self._counted == number:
            return False
        self.ledger.note(f"drained {number}", PhaseEnd(number))
        self._ends.add(number)
        return self._count_for(number)

    def ready(self) -> bool:
        """Whether all outcomes are there that the next candidate has to be proposed from; they count from then on."""
        return self._count_for(len(self.candidates))

    def propose(self, candidate: Candidate) -> None:
        """Put a new candidate on record."""
        self.ledger.propose(candidate)
        self._see(candidate)

    def record(self, outcome: Outcome) -> None:
        """Put an outcome on record."""
        self.ledger.record(outcome)
        self.outcomes[outcome.number] = outcome

    def job(self, candidate: Candidate) -> bytes:
        """Return what a worker is told about `candidate`."""
        weights = self.start if candidate.role in ("root", "reignite") else None
        if candidate.parent is not None:
            parent = self.outcomes[candidate.parent]
            weights = FileRef(parent.weights, parent.sha256) if parent.weights and parent.sha256 else None
        return msgspec.json.encode(
            Job(candidate=candidate, weights=weights, files=() if weights is None else (weights,))
        )

    def heartbeat(self, *, now: bool = False) -> None:
        """Add to the time on record, every few seconds."""
        moment = time.monotonic()
        if now or moment - self._beat > SECONDS_BETWEEN_HEARTBEATS:
            self.ledger.add_elapsed(moment - self._beat)
            self._beat = moment

    def _see(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)
        self.archive.see(candidate)

    def _count_for(self, number: int) -> bool:
        """Take outcomes into the archive, in order, as far as candidate `number` may know them; say whether all are
        there."""
        known = number if number in self._ends else newest_that_counts(number, self.lag) + 1
        while self._counted < min(known, len(self.candidates)):
            outcome = self.outcomes.get(self._counted)
            if outcome is None:
                return False
            self.archive.learn(outcome)
            self._counted += 1
        return True


def run_phase(
    study: Study,
    executor: Executor,
    propose: Propose,
    *,
    workers: int,
    waits: bool = True,
    out_of_time: Callable[[], bool] = lambda: False,
    watch: Callable[[list[Candidate]], None] = lambda _running: None,
) -> bool:
    """Run one phase to its end: until `propose` returns None although all outcomes count, or no time is left; say
    whether it was time that ended it.

    waits: whether proposals hang on outcomes, so that they wait for them as the lag says.
    watch: told twice a second what is being worked on.

    A worker that dies is given the same candidate once more; a second death is the candidate's.

    Raises: ResourceError, IntegrityError or UsageError where a worker met a fault of the place (disk, data, weights);
    all else that goes wrong in a candidate is an outcome with a reason.
    """
    running: dict[Future[bytes], Candidate] = {}
    unfinished = deque(c for c in study.candidates if c.number not in study.outcomes)
    died: set[int] = set()
    done: set[Future[bytes]] = set()
    over = late = False
    while True:
        fresh, stop = list[Candidate](), list[Exception]()
        with study.ledger.batch():  # what came in, and what follows from it, in one write
            for future in done:
                finished = running.pop(future)
                if isinstance(future.exception(), WorkerDied) and finished.number not in died:
                    died.add(finished.number)
                    fresh.append(finished)
                    continue
                try:
                    study.record(_outcome(future, finished, study.archive.objective))
                except (ResourceError, IntegrityError, UsageError) as fault:
                    stop.append(fault)
            while not stop and len(running) + len(fresh) < workers:
                candidate = unfinished.popleft() if unfinished else None
                if candidate is None and not over:
                    candidate, over = _next(study, propose, waits)
                    if candidate is not None and out_of_time():
                        candidate, late, over = None, True, True
                    elif candidate is not None:
                        study.propose(candidate)
                if candidate is None:
                    break
                fresh.append(candidate)
        if stop:
            raise stop[0]
        for candidate in fresh:
            running[executor.submit(study.job(candidate))] = candidate
        if not running:
            if late or not study.drain():
                watch([])
                return late
            over, done = False, set()
            continue
        done, _ = wait(running, timeout=SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
        study.heartbeat()
        watch([candidate for future, candidate in running.items() if future not in done])


def _next(study: Study, propose: Propose, waits: bool) -> tuple[Candidate | None, bool]:
    """Return the next candidate, if one can be proposed now, and whether there is none to come."""
    if not study.ready() and waits:
        return None, False
    candidate = propose(len(study.candidates), study.archive)
    return candidate, candidate is None


def _outcome(future: Future[bytes], candidate: Candidate, objective: Objective) -> Outcome:
    """Read what a worker sent back; what went wrong becomes an outcome with its reason, in one line.

    Raises: ResourceError, IntegrityError or UsageError for a fault of the place.
    """
    try:
        outcome = msgspec.json.decode(future.result(), type=Done).outcome
    except WorkFailed as fault:
        if stop := _FAULTS_THAT_STOP.get(fault.kind):
            raise stop(str(fault)) from None
        return _failed(candidate, str(fault))
    except WorkerDied as fault:
        if candidate.role == "root" and candidate.parent is None:  # no verdict: nothing could be tried without it
            raise ResourceError(
                f"the root could not be trained: {fault}; give it more time or memory and run the same command again"
            ) from None
        return _failed(candidate, str(fault))
    except Exception as fault:  # garbage; JSON knows no number that is not finite
        return _failed(candidate, f"the worker's answer cannot be read ({type(fault).__name__}: {fault})")
    if outcome.number != candidate.number:
        return _failed(candidate, f"the worker's answer is about candidate {outcome.number}")
    if outcome.failure is not None:
        return _failed(candidate, outcome.failure or "the worker did not say why")
    if candidate.role != "reignite" and objective.value(outcome.metrics) is None:
        return _failed(candidate, f"{objective.metric} is not among what was measured")
    return outcome


def _failed(candidate: Candidate, reason: str) -> Outcome:
    line = escape(" ".join(reason.split()))
    return Outcome(
        number=candidate.number, failure=line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}..."
    )
