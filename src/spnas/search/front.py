"""Fitness told apart from mere further training, and the front of fitness against cost."""

from collections.abc import Callable
from typing import NamedTuple

from spnas.arch import Arch
from spnas.search.budget import Budget
from spnas.search.history import CostOf, History


class Point(NamedTuple):
    """A trained candidate: cost in whatever unit the budget has."""

    number: int
    fitness: float
    cost: float


def gain(history: History, number: int) -> float | None:
    """Return by how much AP a child beats its parent trained on for as many steps; None while that is not known."""
    child = history.candidates[number]
    control = history.control_of(child.parent) if child.parent is not None else None
    outcome, reference = history.outcomes.get(number), history.outcomes.get(control.number) if control else None
    if child.role != "child" or not outcome or not reference or outcome.failure or reference.failure:
        return None
    return outcome.metrics["ap"] - reference.metrics["ap"]


def fitness(history: History) -> dict[int, float]:
    """Return the fitness of root and children: AP of the root, then the gains along the line of descent.

    A child trains on from its parent's weights, so its AP would grow with the length of its line even if no move did
    anything; adding up gains over the parents' controls takes that away (a move that does nothing has gain 0).
    """
    found: dict[int, float] = {}
    for candidate in history.candidates:  # parents come before their children
        outcome = history.outcomes.get(candidate.number)
        if not outcome or outcome.failure:
            continue
        if candidate.role == "root":
            found[candidate.number] = outcome.metrics["ap"]
        elif candidate.role == "child" and candidate.parent in found:
            gained = gain(history, candidate.number)
            if gained is not None:
                found[candidate.number] = found[candidate.parent] + gained
    return found


def front(points: list[Point]) -> list[Point]:
    """Return the points that no other beats in both fitness and cost, by falling fitness."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.fitness, p.number)):
        if not kept or point.fitness > kept[-1].fitness:
            kept.append(point)
    return kept[::-1]


def points(history: History, price: Callable[[Arch], float] | None = None) -> list[Point]:
    """Return every candidate with a fitness; cost in GMACs as they were recorded, or by `price`."""
    return [
        Point(n, value, price(history.candidates[n].arch) if price else history.outcomes[n].gmacs)
        for n, value in fitness(history).items()
    ]


def price_of(budget: Budget, cost: CostOf) -> Callable[[Arch], float] | None:
    """Return what the front is drawn against: milliseconds or memory where the budget bounds them, else None, which
    stands for GMACs."""
    if budget.milliseconds is None and budget.mib is None:
        return None
    return lambda arch: budget.share(cost(arch))
