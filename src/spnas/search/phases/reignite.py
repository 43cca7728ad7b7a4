"""Re-ignition: the best backbone is trained as a classifier, and is the root of a detector anew.

Source: SP-NAS, serial phase: when there was no improvement for `n_stuck` rounds the current best is trained again on
ImageNet, at most twice, and from then on the stem is two 3x3 convolutions. We differ: improvement is growth of the
hypervolume, the pictures are any folder of classes or crops of the user's own objects, and what it costs is taken from
the children of the serial phase.

As a phase of a search that has a serial one, it is the leave to re-ignite when stuck; without, it lights the root.
"""

import msgspec

from spnas.arch import Arch, Candidate
from spnas.search.archive import Archive
from spnas.search.budget import CostOf
from spnas.search.settings import SearchSettings

MOST = 2


def propose(number: int, archive: Archive, settings: SearchSettings, cost: CostOf) -> Candidate | None:
    """Return candidate `number`, None when the phase is over."""
    if "serial" in settings.phases:
        return None
    lit = _lit(archive)
    if not lit:
        return _ignition(number, settings.root, None, settings, cost)
    return _relit_root(number, lit[-1], archive, settings)


def when_stuck(number: int, archive: Archive, settings: SearchSettings, cost: CostOf) -> Candidate | None:
    """Return what re-ignition asks for in the middle of the serial phase, None if nothing."""
    if "reignite" not in settings.phases:
        return None
    lit = _lit(archive)
    root = _relit_root(number, lit[-1], archive, settings) if lit else None
    if root is not None:
        return root
    waiting = bool(lit) and not _is_over(lit[-1], archive)
    left = settings.plan.candidates - len(archive.of_role("child", "serial")) - charge(archive, settings)
    if waiting or len(lit) >= MOST or archive.stuck < settings.plan.stuck or left <= settings.plan.ignition_charge:
        return None
    best = archive.front.points()[0].number
    return _ignition(number, archive.candidates[best].arch, best, settings, cost)


def charge(archive: Archive, settings: SearchSettings) -> int:
    """Return how many children the re-ignitions so far stand for."""
    return settings.plan.ignition_charge * len(_lit(archive))


def _lit(archive: Archive) -> list[int]:
    return archive.of_role("reignite", "reignite")


def _is_over(ignition: int, archive: Archive) -> bool:
    """Whether a re-ignition failed, or its root has an outcome that counts."""
    roots = [n for n in archive.of_role("root", "reignite") if archive.candidates[n].parent == ignition]
    return archive.failed(ignition) or any(n in archive.outcomes for n in roots)


def _ignition(number: int, arch: Arch, parent: int | None, settings: SearchSettings, cost: CostOf) -> Candidate:
    lit = msgspec.structs.replace(arch, stem="conv")
    return Candidate(
        number=number,
        role="reignite",
        phase="reignite",
        arch=arch if settings.budget.exceeded(cost(lit)) else lit,
        steps=settings.plan.ignite_steps,
        seed=settings.seed,
        parent=parent,
    )


def _relit_root(number: int, ignition: int, archive: Archive, settings: SearchSettings) -> Candidate | None:
    """Return the root that starts from a classifier, once its outcome counts."""
    if ignition not in archive.outcomes or archive.failed(ignition):
        return None
    if any(archive.candidates[n].parent == ignition for n in archive.of_role("root", "reignite")):
        return None
    return Candidate(
        number=number,
        role="root",
        phase="reignite",
        arch=archive.candidates[ignition].arch,
        steps=settings.plan.root_steps,
        seed=settings.seed,
        parent=ignition,
    )
