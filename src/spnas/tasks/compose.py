"""The settings of a study, from the options of `spnas search`: composed before anything is trained or written."""

from functools import partial
from pathlib import Path

import msgspec

from spnas.assess import Recipe
from spnas.config import (
    QUICK,
    StudySettings,
    Wishes,
    check_phases,
    recipe_for,
    recipe_name_for,
    resize_for,
    search_settings,
    size_of,
)
from spnas.data.batches import Pictures
from spnas.data.choice import DataChoice, choice_of
from spnas.data.records import DataSet
from spnas.search.budget import parse_budget
from spnas.search.settings import LAG
from spnas.talk import Talk
from spnas.tasks.begin import begin_from
from spnas.tasks.clock import settle
from spnas.tasks.plan import plan_of, refuse_wishes
from spnas.tasks.search import ignition_of, refuse_nothing_to_find
from spnas.tasks.source import open_for


def settings_for(
    data: str | Path | DataChoice | None,
    *,
    workers: int,
    talk: Talk,
    wishes: Wishes,
    budget: str | None = None,
    preset: str = "plus",
    without: tuple[str, ...] = (),
    phases: tuple[str, ...] | None = None,
    objective: str = "ap",
    against: str | None = None,
    root: str | None = None,
    start: str | Path | None = None,
    reignite_data: str | Path | None = None,
    image_size: int | None = None,
    recipe: str | None = None,
    detector: str = "faster_rcnn",
    batch_size: int | None = None,
    seed: int = 0,
    lag: int = LAG,
) -> tuple[StudySettings, DataSet]:
    """Return the settings that `search` would begin a study with, but for the weights of `start`, and the data."""
    choice, parsed = choice_of(data), parse_budget(budget) if budget else None
    phases = check_phases(phases, preset, parsed, against)
    refuse_wishes(wishes, phases)
    opened = open_for(choice, talk)
    kind = recipe_name_for(recipe or ("small" if choice.path is None else None))
    resize = resize_for(kind, image_size, opened.train)
    how: Recipe = recipe_for(kind, resize, batch_size=batch_size, detector=detector)
    named = begin_from(start, root).root if start is not None else root
    size = size_of(opened.train, resize)
    compose = partial(
        search_settings,
        recipe_name=kind,
        size=size,
        budget=parsed,
        root=named,
        seed=seed,
        plan=QUICK,
        preset=preset,
        without=without,
        phases=phases,
        metric=objective,
        against=against,
        lag=lag,
    )
    searching, latency = settle(compose, None, budget=parsed, root=named, seed=seed, size=size, recipe=how, talk=talk)
    pictures = Pictures(opened.train, resize)
    plan = plan_of(wishes, searching, how, pictures, stored=None, quick=choice.path is None, workers=workers, talk=talk)
    settings = StudySettings(
        data=choice,
        fingerprint=opened.fingerprint,
        recipe_name=kind,
        recipe=how,
        search=msgspec.structs.replace(searching, plan=plan),
        latency=latency,
        wishes=msgspec.structs.replace(wishes, hours=None),
        ignition=ignition_of(reignite_data, phases),
    )
    refuse_nothing_to_find(opened, settings)
    return settings, opened
