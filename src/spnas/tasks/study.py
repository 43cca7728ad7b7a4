"""`spnas study`: is a study sound, and what of it can be mended without losing anything."""

from pathlib import Path

import msgspec

from spnas.arch import Candidate, Outcome
from spnas.errors import IntegrityError, UsageError
from spnas.runs import repair as mending
from spnas.runs.damage import Damage, damage_in, damage_of_lost_settings, of_settings
from spnas.runs.database import Event
from spnas.runs.folder import RunFolder
from spnas.search.archive import newest_that_counts
from spnas.study import PhaseEnd

FINALS = ("final", "rival")
FROM_OUTCOMES = ("finalists", "verdict", "verdict on copies")  # notes that follow from all outcomes before them


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong in a study, a line each; and what is gone that nobody needs any more."""

    folder: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, and what cannot be mended, a line each."""

    folder: str
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class _Search(msgspec.Struct, frozen=True):
    """What has to be known of a study's settings to tell who needs what."""

    phases: tuple[str, ...]
    lag: int


class _Settings(msgspec.Struct, frozen=True):
    search: _Search


def verify(run: str | Path) -> Verified:
    """Return all that is damaged or missing in the study in `run`; nothing is changed.

    Raises: UsageError when there is no study, or a newer spnas wrote it.
    """
    root = Path(run)
    if lost := damage_of_lost_settings(root):
        return Verified(folder=str(root), problems=tuple(d.line for d in lost))
    folder = _study_in(root)
    found = damage_in(folder)
    gone = [d for d in found if d.kind == "weights" and not d.path.exists() and not _is_needed(folder, d)]
    return Verified(
        folder=str(root),
        problems=tuple(d.line for d in found if d not in gone),
        notes=tuple(f"{d.path}: is gone, and nobody needs it any more" for d in gone),
    )


def repair(run: str | Path) -> Repaired:
    """Mend what can be mended in the study in `run`: what is damaged is put aside, and what is missing is so far set
    back in the ledger that the same command does it again.

    Raises: UsageError when there is no study; StudyInUseError when it is being written to; IntegrityError when
    `study.json` is lost, which nothing else in the folder can replace.
    """
    root = Path(run)
    if damage_of_lost_settings(root):
        raise IntegrityError(
            f"{root / 'study.json'}: is lost, and cannot be made again from what else is there; "
            "restore it from a backup, or begin a new study"
        )
    folder = _study_in(root)
    with folder.lock() as removed:
        if of_settings(folder):
            raise IntegrityError(
                f"{folder.study}: was changed, and cannot be made again from what else is there; "
                "restore it from a backup, or begin a new study"
            )
        done, left = [f"removed {name}, which was left half written" for name in removed], list[str]()
        _mend_ledger(folder, done, left)
        if not left:
            _mend_weights(folder, done)
        for damage in damage_in(folder):
            if damage.kind in ("checkpoint", "best"):
                _put_aside(folder, damage, done)
            elif damage.kind == "start":
                _mend_start(folder, damage, done, left)
    return Repaired(folder=str(root), done=tuple(done), left=tuple(left))


def _study_in(root: Path) -> RunFolder:
    """Open the folder of a search. Raises: UsageError when it is none."""
    folder = RunFolder(root)
    if not folder.begun:
        raise UsageError(f"{root}: no study there; give the folder that 'spnas search' named")
    return folder


def _search_of(folder: RunFolder) -> _Search:
    try:
        return msgspec.json.decode(folder.settings(), type=_Settings).search
    except msgspec.ValidationError:
        raise UsageError(
            f"{folder.study}: its settings are not those of a search of this spnas; repair it with the spnas that "
            "wrote it"
        ) from None


def _mend_ledger(folder: RunFolder, done: list[str], left: list[str]) -> None:
    """Put a ledger that is damaged back to what of it holds."""
    torn = folder.ledger.with_name(f"{folder.ledger.name}-journal").exists()
    try:
        folder.open_ledger().close()
        if torn:
            done.append(f"{folder.ledger.name}: a write that was not finished was rolled back")
        return
    except IntegrityError as fault:
        said = str(fault)
    try:
        found = mending.salvage(folder.ledger)
    except (IntegrityError, FileNotFoundError, UsageError):
        left.append(said)
        return
    events = kept_events(list(found.events), set(), _search_of(folder).lag)
    backup = mending.replace_ledger(folder, events, found.elapsed)
    done.append(
        f"{folder.ledger.name}: {len(events)} of {found.of} events hold and were kept; the damaged ledger is "
        f"{backup.name}; the same command does the others again"
    )


def _mend_weights(folder: RunFolder, done: list[str]) -> None:
    """Put damaged weights aside; those that are needed are trained again, with all that was proposed from them."""
    damaged = [d for d in damage_in(folder) if d.kind == "weights"]
    needed = {d.number for d in damaged if d.number is not None and _is_needed(folder, d)}
    events = list[Event]()
    if needed:  # before anything is moved: settings that are not known end it here
        before = mending.salvage(folder.ledger)
        events = kept_events(list(before.events), needed, _search_of(folder).lag)
    for damage in damaged:
        unneeded = "" if damage.number in needed else ", nobody needs it any more"
        if damage.path.exists():
            into = mending.put_aside(folder, damage.path)
            done.append(f"{damage.path.name}: was damaged{unneeded}; it is {_inside(folder, into)}")
        elif not unneeded:
            done.append(f"{damage.path.name}: was missing")
    if needed:
        backup = mending.replace_ledger(folder, events, before.elapsed)
        outcomes = sum(e[1] == "outcome" for e in before.events) - sum(e[1] == "outcome" for e in events)
        done.append(
            f"{folder.ledger.name}: {outcomes} outcomes were set aside, which the same command learns again; the "
            f"ledger with them is {backup.name}"
        )


def _mend_start(folder: RunFolder, damage: Damage, done: list[str], left: list[str]) -> None:
    """The weights that the root began with are needed until it has an outcome."""
    with folder.open_ledger(read_only=True) as ledger:
        is_used = 0 in ledger.outcomes()
    if is_used:
        into = mending.put_aside(folder, damage.path) if damage.path.exists() else None
        where = f"; it is {_inside(folder, into)}" if into else ""
        done.append(f"{damage.path.name}: was damaged, nobody needs it any more{where}")
    else:
        left.append(damage.line)


def _put_aside(folder: RunFolder, damage: Damage, done: list[str]) -> None:
    path = folder.best if damage.kind == "best" else damage.path
    if path.exists():
        into = mending.put_aside(folder, path)
        again = "publishes it" if damage.kind == "best" else "trains from the start"
        name = path.relative_to(folder.root).as_posix()
        done.append(f"{name}: was damaged; it is {_inside(folder, into)}; the same command {again} again")


def _inside(folder: RunFolder, path: Path) -> str:
    return f"in {path.relative_to(folder.root).as_posix()}"


def _is_needed(folder: RunFolder, damage: Damage) -> bool:
    """Whether a candidate's weights may still be asked for: by a child to come, or by the page and `best/`."""
    try:
        search = _search_of(folder)
    except UsageError:
        return True  # who can tell
    with folder.open_ledger(read_only=True) as ledger:
        candidate = ledger.candidates()[damage.number or 0]
        growing = [phase for phase in search.phases if phase != "final"]
        over = all(ledger.noted(f"phase {phase}", PhaseEnd) is not None for phase in growing)
    if candidate.role == "control":
        return False
    return candidate.role in FINALS or not over or "final" not in search.phases


def kept_events(events: list[Event], broken: set[int], lag: int) -> list[Event]:
    """Return the events of a ledger that hold although the outcomes of `broken` do not: all but these outcomes, and
    what was proposed when they could be known, which is proposed and learned again, alike.

    Finals are proposed whatever the others' outcomes are, so of them just the outcome goes, and the verdict.
    """
    candidates, outcomes, ends = dict[int, Candidate](), set[int](), list[int]()
    for _, kind, name, body, _ in events:
        if kind == "candidate":
            candidates[int(name)] = msgspec.json.decode(body, type=Candidate)
        elif kind == "outcome":
            outcomes.add(msgspec.json.decode(body, type=Outcome).number)
        elif name.startswith(("phase ", "drained ")):
            ends.append(msgspec.json.decode(body, type=PhaseEnd).number)
    lost = {n for n in candidates if n in broken or n not in outcomes}
    growing = [n for n in lost if candidates[n].role not in FINALS]
    cut = min((_first_that_knows(n, ends, lag) for n in growing), default=len(candidates))

    def holds(event: Event) -> bool:
        _, kind, name, body, _ = event
        if kind == "candidate":
            return int(name) < cut
        if kind == "outcome":
            return int(name) < cut and int(name) not in broken
        if name in FROM_OUTCOMES:
            return not growing and not (broken and name.startswith("verdict"))
        if name.startswith(("phase ", "drained ", "_cut ")):
            return msgspec.json.decode(body, type=PhaseEnd).number <= min(growing, default=len(candidates))
        return True

    return [event for event in events if holds(event)]


def _first_that_knows(number: int, ends: list[int], lag: int) -> int:
    """Return the first candidate that could be proposed from the outcome of `number`."""
    later = number + 1
    while newest_that_counts(later, lag) < number and later not in ends:
        later += 1
    return later


def describe_verified(found: Verified) -> list[str]:
    """Return what a person reads."""
    return [*found.problems, *found.notes] or [f"{found.folder}: sound"]


def describe_repaired(result: Repaired) -> list[str]:
    """Return what a person reads."""
    return [*result.done, *(f"cannot be mended: {line}" for line in result.left)] or [
        f"{result.folder}: nothing to mend"
    ]
