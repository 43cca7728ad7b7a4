"""A study as its files tell it, event by event, without torch's help and without touching anything."""

import datetime
import time
from collections import deque
from typing import TypeVar

import msgspec

from spnas.arch import Arch, Candidate, Outcome
from spnas.config import StudySettings
from spnas.errors import IntegrityError, UsageError
from spnas.latency import predictor
from spnas.runs.folder import RunFolder
from spnas.runs.held import Held, held
from spnas.runs.tail import Event, Tail
from spnas.search.archive import Archive
from spnas.search.budget import Spent
from spnas.search.finalists import Finalists
from spnas.search.objective import BEYOND
from spnas.search.verdict import Verdict
from spnas.tasks.eta import Eta, Seen
from spnas.worker import read_sign, sign_path

SECONDS_OF_A_HEARTBEAT = 10.0  # the time on record is at most so old while a study runs
SECONDS_FRESH = 120.0  # a sign of life of a study on another machine
NEWEST = 64  # events by which it is seen how many train at once
LEAST_STEPS = 20
S = TypeVar("S", bound=msgspec.Struct)


class Follower:
    """What is known of the study in `folder`, brought up to date by `refresh`; what was read is not read again.

    learned: numbers of candidates in the order in which their outcomes were written. volumes: the hypervolume after
    every net of the search that could be compared.
    """

    def __init__(self, folder: RunFolder, *, cores: int = 1) -> None:
        self.folder = folder
        self.settings = settings_in(folder)
        self.candidates: list[Candidate] = []
        self.outcomes: dict[int, Outcome] = {}
        self.learned: list[int] = []
        self.failed: list[int] = []
        self.over: set[str] = set()
        self.finalists: Finalists | None = None
        self.verdict: Verdict | None = None
        self.copies_verdict: Verdict | None = None
        self.volumes: list[float] = []
        self.archive = self._archive()
        self._tail = Tail(folder.ledger)
        self._by_arch: dict[Arch, Spent] = {}
        self._waiting: set[int] = set()
        self._counted = 0
        self._open: deque[int] = deque(maxlen=NEWEST)
        self._time = predictor(self.settings.latency) if self.settings.latency else None
        self._eta = Eta(self.settings.search, cores=cores)
        self._seconds = 0.0

    @property
    def against(self) -> str:
        """The cost that the front is drawn against: the objective's, but for memory, which outcomes do not tell."""
        against = self.settings.search.objective.against
        return "gmacs" if against == "mib" else against

    def refresh(self) -> bool:
        """Take in what is new, and say whether anything was."""
        events = self._tail.news()
        for event in events:
            self._take(event)
        return bool(events)

    def lock(self) -> Held:
        """Ask who writes to the study."""
        return held(self.folder.root / "lock")

    def unfinished(self) -> list[int]:
        """Return the numbers of all candidates without an outcome."""
        return sorted(self._waiting)

    def running(self, lock: Held) -> dict[int, int]:
        """Return what is trained now, with the step it has come to; a sign that a writer of before left is none."""
        if lock.held is False:
            return {}
        since = _since(lock)
        found = {}
        for number in self.unfinished():
            sign, path = read_sign(self.folder, number), sign_path(self.folder, number)
            try:
                written = path.stat().st_mtime
            except OSError:
                continue
            fresh = written >= since if lock.held else time.time() - written < SECONDS_FRESH
            if sign is not None and sign.number == number and fresh:
                found[number] = sign.step
        return found

    def seconds(self, lock: Held) -> float:
        """Return how long the study has taken: what is on record, and while it runs what has passed since."""
        seconds = self._tail.elapsed
        if lock.held and self._tail.changed_at is not None and self.candidates:
            seconds += min(SECONDS_OF_A_HEARTBEAT, max(0.0, time.time() - self._tail.changed_at))
        self._seconds = max(self._seconds, seconds)
        return self._seconds

    def seconds_left(self, running: dict[int, int], seconds: float) -> float | None:
        """Return how long it will take yet if it goes on as it did; None where that is not known."""
        if self._open:
            self._eta.saw(max(self._open))
        seen = Seen(self.candidates, self.outcomes, self.archive, self.over, running)
        step = running.get(0, 0)
        return self._eta.left(seen, seconds, root_step=seconds / step if step >= LEAST_STEPS else None)

    def _take(self, event: Event) -> None:
        match event.kind:
            case "candidate":
                self._see(self._decoded(event, Candidate))
            case "outcome":
                self._learn(self._decoded(event, Outcome))
            case "note" if event.name.startswith("phase "):
                self.over.add(event.name.removeprefix("phase "))
            case "note" if event.name == "finalists":
                self.finalists = self.archive.finalists = self._decoded(event, Finalists)
            case "note" if event.name == "verdict":
                self.verdict = self._decoded(event, Verdict)
            case "note" if event.name == "verdict on copies":
                self.copies_verdict = self._decoded(event, Verdict)

    def _see(self, candidate: Candidate) -> None:
        if candidate.number != len(self.candidates):
            raise IntegrityError(f"{self.folder.ledger}: candidate {candidate.number} is out of its order")
        self.candidates.append(candidate)
        self.archive.see(candidate)
        self._waiting.add(candidate.number)
        self._open.append(len(self._waiting))

    def _learn(self, outcome: Outcome) -> None:
        """Take an outcome in; the archive takes them in the order of their numbers."""
        number = outcome.number
        if number not in self._waiting:
            raise IntegrityError(f"{self.folder.ledger}: outcome {number} has no candidate that waits for it")
        self._waiting.remove(number)
        self.outcomes[number] = outcome
        self.learned.append(number)
        if outcome.failure:
            self.failed.append(number)
        elif number == 0 and self.against != self.settings.search.objective.against:
            self.archive = self._archive(BEYOND * outcome.gmacs)
            for candidate in self.candidates:
                self.archive.see(candidate)
        while self._counted in self.outcomes:
            self._count(self._counted)
            self._counted += 1

    def _count(self, number: int) -> None:
        outcome, candidate = self.outcomes[number], self.candidates[number]
        arch = candidate.arch
        if outcome.gmacs and candidate.role != "reignite":  # whose pictures have another size
            time = self._time(arch) if self._time and self.against == "milliseconds" else None
            self._by_arch[arch] = Spent(gmacs=outcome.gmacs, params=outcome.params, milliseconds=time)
        placed = len(self.archive.fitness)
        self.archive.learn(outcome)
        self.volumes += [self.archive.front.hypervolume] * (len(self.archive.fitness) > placed)

    def _archive(self, reference: float | None = None) -> Archive:
        search, objective = self.settings.search, self.settings.search.objective
        if self.against != objective.against:
            objective = msgspec.structs.replace(objective, against="gmacs", reference=reference or 1.0)
        return Archive(search.rules, objective, lambda arch: self._by_arch[arch])

    def _decoded(self, event: Event, kind: type[S]) -> S:
        try:
            return msgspec.json.decode(event.body, type=kind)
        except msgspec.MsgspecError as fault:
            raise IntegrityError(
                f"{self.folder.ledger}: {event.kind} {event.name} cannot be read ({fault}); "
                "use the version of spnas that wrote it"
            ) from None


def settings_in(folder: RunFolder) -> StudySettings:
    """Return the settings of the search in `folder`.

    Raises: UsageError when there is none, or another version or another command made it; IntegrityError.
    """
    written = folder.settings()
    try:
        return msgspec.json.decode(written, type=StudySettings)
    except msgspec.MsgspecError:
        raise UsageError(
            f"{folder.root}: is no search, or one of another version of spnas; "
            "name a folder that 'spnas search' of this version wrote"
        ) from None


def _since(lock: Held) -> float:
    """Return when the present writer began (epoch); its clock is told in whole seconds."""
    try:
        return datetime.datetime.fromisoformat(lock.owner.since).timestamp() if lock.owner else 0.0
    except ValueError:
        return 0.0
