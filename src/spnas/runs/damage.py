"""What in the folder of a study is not as it was written; each line names the file."""

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from spnas.arch import Outcome
from spnas.errors import IntegrityError, UsageError
from spnas.runs import files
from spnas.runs.folder import RunFolder
from spnas.runs.ledger import Ledger
from spnas.runs.seal import why_broken

Kind = Literal["settings", "ledger", "weights", "start", "best", "checkpoint"]


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is damaged or missing: what it is, where, and a line that says so; `number` is the candidate's
    whose weights they are."""

    kind: Kind
    path: Path
    line: str
    number: int | None = None


class _Manifest(msgspec.Struct, frozen=True):
    sha256: dict[str, str]


class _Start(msgspec.Struct, frozen=True):
    start: str | None = None


def damage_in(folder: RunFolder) -> list[Damage]:
    """Return all that is damaged in a study; what its ledger says of weights is read only from a sound ledger.

    Raises: UsageError when a newer spnas wrote it.
    """
    found = of_settings(folder)
    found += of_start(folder) if not found else []
    if folder.ledger.exists() or any(folder.root.glob("weights/*.safetensors")):  # else nothing was learned yet
        try:
            with folder.open_ledger(read_only=True) as ledger:
                found += of_weights(folder, ledger.outcomes())
        except IntegrityError as fault:
            found.append(Damage(kind="ledger", path=folder.ledger, line=str(fault)))
    return found + of_checkpoints(folder) + of_best(folder)


def of_settings(folder: RunFolder) -> list[Damage]:
    """Return what is wrong with `study.json`."""
    try:
        folder.settings()
    except IntegrityError as fault:
        return [Damage(kind="settings", path=folder.study, line=str(fault))]
    return []


def of_start(folder: RunFolder) -> list[Damage]:
    """Return what is wrong with the weights that roots begin with."""
    try:
        digest = msgspec.json.decode(folder.settings(), type=_Start).start
        if digest is not None:
            files.read_checked(folder.start, digest)
    except msgspec.ValidationError:  # settings of something else
        return []
    except IntegrityError as fault:
        return [Damage(kind="start", path=folder.start, line=str(fault))]
    return []


def of_weights(folder: RunFolder, outcomes: dict[int, Outcome]) -> list[Damage]:
    """Return what is wrong with the weights that outcomes speak of."""
    found = []
    for outcome in outcomes.values():
        if outcome.weights is not None:
            try:
                files.read_checked(folder.path_of(outcome.weights), outcome.sha256 or "")
            except IntegrityError as fault:
                path = folder.root / outcome.weights
                found.append(Damage(kind="weights", path=path, line=str(fault), number=outcome.number))
    return found


def of_checkpoints(folder: RunFolder) -> list[Damage]:
    """Return what is wrong with the checkpoints of trainings."""
    found = []
    for path in sorted(folder.root.glob("checkpoints/*/training.safetensors")):
        try:
            reason = why_broken(path.read_bytes())
        except FileNotFoundError:
            continue  # a worker is done with it
        if reason is not None:
            line = f"{path}: {reason}; the file was damaged: 'spnas study repair' puts it aside"
            found.append(Damage(kind="checkpoint", path=path, line=line))
    return found


def of_best(folder: RunFolder) -> list[Damage]:
    """Return what is wrong with the bundle that was published; what else lies in its folder is its owner's."""
    if not folder.best.exists():
        return []
    manifest = folder.best / "manifest.json"
    advice = "'spnas study repair' puts the folder aside, then the same command publishes it again"
    try:
        sums = msgspec.json.decode(manifest.read_bytes(), type=_Manifest).sha256
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError):
        return [Damage(kind="best", path=manifest, line=f"{manifest}: cannot be read; {advice}")]
    found = []
    for name in sorted({"config.json", "model.safetensors"} | sums.keys()):
        path = folder.best / Path(name).name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sums.get(name):
            line = f"{path}: is missing, or not what manifest.json says; {advice}"
            found.append(Damage(kind="best", path=path, line=line))
    return found


def damage_of_lost_settings(root: Path) -> list[Damage]:
    """Return what is wrong where `study.json` is so damaged that its folder is not known as a study's.

    Raises: UsageError when it is no study.
    """
    try:
        RunFolder(root)
        return []
    except IntegrityError as fault:
        found = [Damage(kind="settings", path=root / "study.json", line=str(fault))]
    try:
        Ledger.open(root / "ledger.sqlite", read_only=True).close()
    except (IntegrityError, UsageError) as fault:
        found.append(Damage(kind="ledger", path=root / "ledger.sqlite", line=str(fault)))
    return found
