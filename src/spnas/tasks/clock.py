"""Where a search meets the clock: its table of blocks before it begins, and whole nets when it ends."""

from collections.abc import Callable
from functools import cache, partial

from spnas.arch import Arch
from spnas.assess import Recipe
from spnas.config import StudySettings, spend
from spnas.latency import LatencyTable, table_for
from spnas.nets.pieces import Size
from spnas.nets.timing import Place, this_place, time_all
from spnas.pace import cache_folder
from spnas.search.budget import Budget
from spnas.search.settings import SearchSettings
from spnas.study import Study
from spnas.talk import Talk

Compose = Callable[..., SearchSettings]


def place_of(recipe: Recipe) -> Place:
    """Return where the nets of a study are timed: on its device, in its precision, with this process's threads."""
    return this_place(recipe.device, recipe.train_settings.precision)


def stopwatch(size: Size, recipe: Recipe) -> Callable[[Arch], float]:
    """Return the function that times a whole net, every net once."""
    return cache(lambda arch: time_all([arch], size, place_of(recipe))[0])


def settle(
    compose: Compose,
    stored: StudySettings | None,
    *,
    budget: Budget | None,
    root: str | None,
    size: Size,
    recipe: Recipe,
    talk: Talk,
) -> tuple[SearchSettings, LatencyTable | None]:
    """Return the search that `compose` makes, and its latency table when the budget is in milliseconds.

    What was timed is not timed again: a study that goes on keeps the root and the table that it began with.
    """
    if budget is None or budget.milliseconds is None:
        return compose(), None
    if stored is not None and stored.latency is not None and stored.search.budget == budget:
        # with the root given, nothing else of a search hangs on the clock
        return compose(time=lambda _: 0.0, root=root or stored.search.root.text), stored.latency
    talk.say("timing blocks and whole nets on this machine, once; let nothing else run on it")
    search = compose(time=stopwatch(size, recipe))
    table = table_for(
        search.root,
        search.space,
        size,
        place_of(recipe),
        milliseconds=budget.milliseconds,
        cost=partial(spend, size=size),
        store=cache_folder() / "latency.json",
    )
    talk.say(str(table))
    return search, table


def time_finals(study: Study, archs: list[Arch], size: Size, recipe: Recipe) -> dict[str, float]:
    """Return the milliseconds of whole nets, timed side by side, once, and put on record under their texts."""
    noted = study.ledger.noted("_milliseconds", dict[str, float])
    if noted is None:
        times = time_all(archs, size, place_of(recipe))
        noted = {arch.text: round(ms, 4) for arch, ms in zip(archs, times, strict=True)}
        study.ledger.note("_milliseconds", noted)
    return noted
