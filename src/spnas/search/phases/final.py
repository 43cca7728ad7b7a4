"""The final phase: finalists and their rival, trained from scratch, alike, over the same seeds, judged on val."""

from collections.abc import Callable
from itertools import islice

from spnas.arch import Arch, Candidate
from spnas.search.front import Point, front, points
from spnas.search.history import History
from spnas.search.settings import SearchSettings


def finalists(
    history: History,
    settings: SearchSettings,
    *,
    price: Callable[[Arch], float] | None = None,
    fits: Callable[[Arch], bool] = lambda _: True,
) -> list[int]:
    """Return the candidates on the front with the highest fitness, the first one the search's answer.

    Children go before the root, which is a ResNet itself: the question is what the search has found.
    price: what the front is drawn against, see `front.points`.
    fits: asked of one child after the other until there are enough, whether it is within the budget after all: a net
    whose cost was estimated may turn out not to be.
    """
    tried = points(history, price)
    children = (p for p in front(tried) if p.number != 0)
    # where nothing that fits beat the root, the best child is judged all the same, or the root where there is none
    rest: list[Point] = sorted((p for p in tried if p.number != 0), key=lambda p: (-p.fitness, p.number))
    best = islice((p.number for p in children if fits(history.candidates[p.number].arch)), settings.plan.finalists)
    last = (p.number for p in rest if fits(history.candidates[p.number].arch))
    return list(best) or [next(last, 0)]


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
