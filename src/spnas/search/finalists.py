"""Who is trained in full at the end of a search, and what each of them is there to show."""

from collections.abc import Callable
from typing import Literal

import msgspec

from spnas.arch import Arch
from spnas.arch.move import apply, neighbours
from spnas.arch.space import why_not
from spnas.search.archive import Archive
from spnas.search.budget import CostOf
from spnas.search.settings import SearchSettings

CLOSE = 0.05

Label = Literal["found", "copies", "depth"]


class Finalist(msgspec.Struct, frozen=True, kw_only=True):
    """One net: what the search found, the best one with copies, or a serial one that costs as much as that.

    candidate: number of the candidate that it was in the search, None where it was none.
    """

    label: Label
    arch: Arch
    candidate: int | None = None


class Finalists(msgspec.Struct, frozen=True, kw_only=True):
    """The finalists, the search's answer first, and its rival: a uniformly scaled ResNet of the same cost."""

    nets: tuple[Finalist, ...]
    rival: Arch

    def place(self, label: Label) -> int | None:
        """Return the place of the net that stands for `label`. The answer may be the best one with copies as well, or
        the serial net that it is compared with; it is not trained twice for that."""
        labels = [net.label for net in self.nets]
        if label in labels:
            return labels.index(label)
        copies = bool(self.nets[0].arch.copies)
        compared = "depth" in labels if copies else "copies" in labels
        return 0 if compared and label == ("copies" if copies else "depth") else None


def choose(
    archive: Archive, settings: SearchSettings, cost: CostOf, *, fits: Callable[[Arch], bool] = lambda _: True
) -> tuple[Finalist, ...]:
    """Choose from all that was tried; the search's answer is the fittest on the front.

    Children go before roots, which are plain nets themselves: the question is what the search has found.
    fits: asked of one net after the other until one is within the budget after all: a cost that was estimated may turn
    out to be too high.
    """
    answer = _answer(archive, fits)
    found = settings.root if answer is None else archive.candidates[answer].arch
    nets = [Finalist(label="found", arch=found, candidate=answer)]
    with_copies = [n for n in archive.fitness if archive.candidates[n].arch.copies and archive.candidates[n].moves]
    if "parallel" in settings.phases and settings.rules.twin and with_copies:
        best = max(with_copies, key=lambda n: (archive.fitness[n], -n))
        if best != answer:
            nets.append(Finalist(label="copies", arch=archive.candidates[best].arch, candidate=best))
        twin = _of_equal_cost(archive.candidates[best].arch, archive, settings, cost)
        if twin.arch != found:
            nets.append(twin)
    return tuple(nets)


def _answer(archive: Archive, fits: Callable[[Arch], bool]) -> int | None:
    roots = set(archive.roots())
    on_front = [p.number for p in archive.front.points()]
    # where nothing that fits beat the root, the best child is judged all the same, or the root where there is none
    rest = sorted(archive.fitness, key=lambda n: (-archive.fitness[n], n))
    for number in (*on_front, *rest):
        if number not in roots and fits(archive.candidates[number].arch):
            return number
    return next((number for number in rest if number in roots), None)


def _of_equal_cost(arch: Arch, archive: Archive, settings: SearchSettings, cost: CostOf) -> Finalist:
    """Return the serial net to compare copies with: the best that was tried at this cost, else one made deeper."""
    target = cost(arch).gmacs
    for point in archive.serial.points():
        tried = archive.candidates[point.number].arch
        if abs(cost(tried).gmacs / target - 1) <= CLOSE:
            return Finalist(label="depth", arch=tried, candidate=point.number)
    deeper = deepened(msgspec.structs.replace(arch, copies=()), target, settings, cost)
    return Finalist(label="depth", arch=deeper)


def deepened(arch: Arch, target: float, settings: SearchSettings, cost: CostOf) -> Arch:
    """Return a serial net with more blocks that costs `target` GMACs within 5 %, or less where none does: each block
    goes where its stage has grown least among the places that do not lead beyond."""
    space = msgspec.structs.replace(settings.space, stem=arch.stem)
    begun = arch
    while True:
        grown = [apply(arch, move) for move in neighbours(arch, kinds=("expand-block",)) if move.by == 1]
        fitting = [g for g in grown if not why_not(g, space) and cost(g).gmacs <= (1 + CLOSE) * target]
        if not fitting or cost(arch).gmacs >= (1 - CLOSE) * target:
            return arch
        arch = min(fitting, key=lambda g: (_unevenness(g, begun), g.text))


def _unevenness(arch: Arch, begun: Arch) -> float:
    """Return how far stages have grown apart, compared with `begun`."""
    shares = [len(now) / len(then) for now, then in zip(arch.stages, begun.stages, strict=True)]
    return max(shares) / min(shares)
