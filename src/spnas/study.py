"""The loop that keeps the workers of a study busy: propose, submit, record.

It knows neither torch nor data, only a proposer, an executor and a ledger. There is no state but the ledger's: a
candidate without an outcome is unfinished, whatever the reason, and is done again when the study goes on.
"""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait

import msgspec

from spnas.arch import Candidate, Outcome
from spnas.errors import IntegrityError, ResourceError, UsageError
from spnas.runs.executors import Executor, WorkerDied, WorkFailed
from spnas.runs.ledger import Ledger
from spnas.search.history import History

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_HEARTBEATS = 5.0
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

Propose = Callable[[int, History], Candidate | None]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told: the candidate, and where its parent's weights lie in the study's folder."""

    candidate: Candidate
    parent_weights: str | None = None
    parent_sha256: str | None = None


class Study:
    """The history of a study, kept in step with its ledger, and the time it took over all sittings."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.candidates = list(ledger.candidates())
        self.outcomes = dict(ledger.outcomes())
        self.earlier_seconds = ledger.elapsed_seconds()
        self._began = self._beat = time.monotonic()

    @property
    def history(self) -> History:
        """What a proposer may look at."""
        return History(tuple(self.candidates), dict(self.outcomes))

    @property
    def seconds(self) -> float:
        """Time spent on this study, over all sittings."""
        return self.earlier_seconds + time.monotonic() - self._began

    def propose(self, candidate: Candidate) -> None:
        """Put a new candidate on record."""
        self.ledger.propose(candidate)
        self.candidates.append(candidate)

    def record(self, outcome: Outcome) -> None:
        """Put an outcome on record."""
        self.ledger.record(outcome)
        self.outcomes[outcome.number] = outcome

    def heartbeat(self, *, now: bool = False) -> None:
        """Add to the time on record, every few seconds."""
        moment = time.monotonic()
        if now or moment - self._beat > SECONDS_BETWEEN_HEARTBEATS:
            self.ledger.add_elapsed(moment - self._beat)
            self._beat = moment


def run_phase(
    study: Study,
    executor: Executor,
    propose: Propose,
    *,
    lag: int,
    workers: int,
    out_of_time: Callable[[], bool] = lambda: False,
    watch: Callable[[list[Candidate]], None] = lambda _running: None,
) -> None:
    """Run one phase to its end: until `propose` returns None, or no time is left for a further candidate.

    watch: told twice a second what is being worked on.

    A worker that dies is given the same candidate once more; a second death is the candidate's.

    Raises: ResourceError, IntegrityError or UsageError where a worker met a fault of the place (disk, data, weights);
    all else that goes wrong in a candidate is an outcome with a reason.
    """
    running: dict[Future[bytes], Candidate] = {}
    unfinished = [c for c in study.candidates if c.number not in study.outcomes]
    died: set[int] = set()
    over = False
    while True:
        while len(running) < workers:
            candidate = unfinished.pop(0) if unfinished else None
            if candidate is None and not over:
                candidate, over = _next(study, propose, lag, out_of_time)
            if candidate is None:
                break
            running[executor.submit(_job(study, candidate))] = candidate
        if not running:
            return
        done, _ = wait(running, timeout=SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
        for future in done:
            candidate = running.pop(future)
            if isinstance(future.exception(), WorkerDied) and candidate.number not in died:
                died.add(candidate.number)
                running[executor.submit(_job(study, candidate))] = candidate
            else:
                study.record(_outcome(future, candidate))
        study.heartbeat()
        watch(list(running.values()))


def _next(study: Study, propose: Propose, lag: int, out_of_time: Callable[[], bool]) -> tuple[Candidate | None, bool]:
    """Return the next candidate, if one can be proposed now, and whether the phase is over."""
    number, history = len(study.candidates), study.history
    if not history.ready_for(number, lag):
        return None, False
    if out_of_time():
        return None, True
    candidate = propose(number, history)
    if candidate is None:
        return None, True
    study.propose(candidate)
    return candidate, False


def _job(study: Study, candidate: Candidate) -> bytes:
    parent = study.outcomes[candidate.parent] if candidate.parent is not None else None
    return msgspec.json.encode(
        Job(
            candidate=candidate,
            parent_weights=parent.weights if parent else None,
            parent_sha256=parent.sha256 if parent else None,
        )
    )


def _outcome(future: Future[bytes], candidate: Candidate) -> Outcome:
    """Read what a worker sent back; what went wrong becomes an outcome with its reason."""
    try:
        return msgspec.json.decode(future.result(), type=Outcome)
    except WorkFailed as fault:
        if stop := _FAULTS_THAT_STOP.get(fault.kind):
            raise stop(str(fault)) from None
        return Outcome(number=candidate.number, failure=str(fault))
    except WorkerDied as fault:
        return Outcome(number=candidate.number, failure=str(fault))
