"""The final phase: finalists and their rival, trained from scratch, alike, over the same seeds, judged on val."""

from spnas.arch import Arch, Candidate
from spnas.search.front import Point, front, points
from spnas.search.history import History
from spnas.search.settings import SearchSettings


def finalists(history: History, settings: SearchSettings) -> list[int]:
    """Return the candidates on the front with the highest fitness, the first one the search's answer.

    Children go before the root, which is a ResNet itself: the question is what the search has found.
    """
    on_front = [p.number for p in front(points(history))]
    children = [n for n in on_front if n != 0]
    if not children:  # nothing beat the root: judge the best child all the same, or the root where there is none
        rest: list[Point] = sorted((p for p in points(history) if p.number != 0), key=lambda p: (-p.fitness, p.number))
        children = [p.number for p in rest[:1]] or [0]
    return children[: settings.plan.finalists]


def propose(
    number: int, history: History, settings: SearchSettings, *, chosen: list[int], rival: Arch
) -> Candidate | None:
    """Return candidate `number` of the study; all finalists and the rival run over one seed, then over the next."""
    done = sum(c.role in ("final", "rival") for c in history.candidates)
    per_seed = len(chosen) + 1
    repeat, place = divmod(done, per_seed)
    if repeat >= settings.plan.seeds:
        return None
    is_rival = place == len(chosen)
    return Candidate(
        number=number,
        role="rival" if is_rival else "final",
        arch=rival if is_rival else history.candidates[chosen[place]].arch,
        steps=settings.plan.final_steps,
        seed=settings.seed + 1 + repeat,
        finalist=chosen[0] if is_rival else chosen[place],
    )
