"""The settings of a study, from the options of `spnas search`: composed before anything is trained or written."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch

from spnas.arch.published import arch_of
from spnas.assess import Recipe, input_size, numbers_of
from spnas.config import (
    QUICK,
    Ignition,
    StudySettings,
    Wishes,
    check_phases,
    labelled_for,
    recipe_for,
    recipe_name_for,
    resize_for,
    search_settings,
)
from spnas.data.batches import STRIDE, Pictures
from spnas.data.choice import DataChoice, choice_of
from spnas.data.folders import open_folders
from spnas.data.records import NOT_A_TARGET, Annotations, DataSet
from spnas.errors import UsageError
from spnas.evaluate.detect import NOTHING_FOUND
from spnas.nets import detectors
from spnas.search.budget import Budget, parse_budget
from spnas.search.objective import check_against, check_metric
from spnas.search.rules import rules_of
from spnas.search.settings import LAG, SearchSettings
from spnas.shelf import take
from spnas.talk import Talk
from spnas.tasks.begin import Beginning, begin_from
from spnas.tasks.clock import settle
from spnas.tasks.plan import data_folder, plan_of, refuse_wishes
from spnas.tasks.source import open_for
from spnas.train.settings import is_one_value
from spnas.worker import materials_for

LARGEST_SIDE = {"cpu": 64, "cuda": 224}  # of pictures that a backbone is re-ignited on


class Asked(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What was asked for, as far as it needs no measurement and no folder: checked, and the data opened.

    size: height and width at which costs are counted. compose: makes the search, given how a net is timed.
    """

    choice: DataChoice
    opened: DataSet
    recipe_name: str
    recipe: Recipe
    wishes: Wishes
    phases: tuple[str, ...]
    budget: Budget | None
    begun: Beginning
    reignite_data: str | Path | None
    size: tuple[int, int]
    compose: Callable[..., SearchSettings]


def asked_for(
    data: str | Path | DataChoice | None,
    *,
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
) -> Asked:
    """Check the options of a search and open its data. Raises: UsageError, DataError, IntegrityError."""
    choice, parsed = choice_of(data), parse_budget(budget) if budget else None
    phases = check_phases(phases, preset, parsed, against)
    refuse_wishes(wishes, phases)
    kind = recipe_name_for(recipe or ("small" if choice.path is None else None))
    begun = begin_from(start, root) if start is not None else Beginning(root=root)
    _refuse_names(detector=detector, root=begun.root, preset=preset, without=without, metric=objective, against=against)
    opened = open_for(choice, talk)
    resize = resize_for(kind, image_size, opened.train)
    how = recipe_for(kind, resize, batch_size=batch_size, detector=detector)
    size = input_size(opened.train, resize)
    return Asked(
        choice=choice,
        opened=opened,
        recipe_name=kind,
        recipe=how,
        wishes=wishes,
        phases=phases,
        budget=parsed,
        begun=begun,
        reignite_data=reignite_data,
        size=size,
        compose=partial(
            search_settings,
            recipe_name=kind,
            size=size,
            budget=parsed,
            root=begun.root,
            seed=seed,
            plan=QUICK,
            preset=preset,
            without=without,
            phases=phases,
            metric=objective,
            against=against,
            lag=lag,
        ),
    )


def _refuse_names(
    *, detector: str, root: str | None, preset: str, without: tuple[str, ...], metric: str, against: str | None
) -> None:
    """Refuse what is misspelt before anything is read. Raises: UsageError."""
    take(detectors, detector)
    rules_of(preset, without)
    check_metric(metric)
    if against is not None:
        check_against(against)
    if root is not None:
        arch_of(root)


def settings_of(asked: Asked, *, stored: StudySettings | None, workers: int, talk: Talk) -> StudySettings:
    """Return the settings of a study, but for the weights that it starts with; what `stored` has measured is kept.

    Raises: UsageError, DataError.
    """
    searching, latency = settle(
        asked.compose,
        stored,
        budget=asked.budget,
        root=asked.begun.root,
        size=asked.size,
        recipe=asked.recipe,
        talk=talk,
    )
    batch, side, stages = asked.recipe.train_settings.batch_size, max(asked.size), len(searching.root.stages)
    if is_one_value(batch, side=-(-side // STRIDE) * STRIDE, stages=stages):
        raise UsageError(
            f"--batch-size {batch}: one picture of {side} px ends as one pixel after {stages} stages, too little "
            "for BN; give more pictures a step, or larger ones (--image-size)"
        )
    plan = plan_of(
        asked.wishes,
        searching,
        asked.recipe,
        Pictures(asked.opened.train, asked.recipe.resize),
        stored=stored,
        quick=asked.choice.path is None,
        workers=workers,
        talk=talk,
    )
    settings = StudySettings(
        data=asked.choice,
        fingerprint=asked.opened.fingerprint,
        recipe_name=asked.recipe_name,
        recipe=asked.recipe,
        search=msgspec.structs.replace(searching, plan=plan),
        latency=latency,
        wishes=msgspec.structs.replace(asked.wishes, hours=None),
        ignition=_ignition(asked.reignite_data, asked.phases),
    )
    _refuse_nothing_to_find(asked.opened, settings)
    return settings


def settings_for(
    data: str | Path | DataChoice | None, *, workers: int, talk: Talk, wishes: Wishes, **options: Any
) -> tuple[StudySettings, DataSet]:
    """Return the settings that a new `search` with these options has, but for the weights of `start`, and the data."""
    asked = asked_for(data, talk=talk, wishes=wishes, **options)
    return settings_of(asked, stored=None, workers=workers, talk=talk), asked.opened


def _refuse_nothing_to_find(data: DataSet, settings: StudySettings) -> None:
    """Make sure that there is something to find wherever a detector is judged, and something to learn from.

    Raises: UsageError naming the part without objects, or what the objective lacks; DataError when there is nothing to
    re-ignite with.
    """
    materials = materials_for(data, settings)
    parts = {"train": materials.train, "train set aside for ranking": materials.search_val, "val": materials.val}
    for name, pictures in parts.items():
        flags = pictures.annotations.flags
        if not ((flags & NOT_A_TARGET) == 0).any():
            raise UsageError(f"no object in the part of {name} ({len(pictures)} pictures); give more pictures")
        if name != "train":
            _refuse_nothing_to_measure(pictures.annotations, settings.search.objective.metric, part=name)
    if "reignite" in settings.search.phases:
        labelled_for(materials.train.annotations, settings.ignition, settings.fingerprint)


def _refuse_nothing_to_measure(judged: Annotations, metric: str, *, part: str) -> None:
    """Raise UsageError where a metric would be no number on a part that detectors are judged on."""
    if metric == "lamr" and judged.details is None:
        raise UsageError(
            "--objective lamr: needs occlusion, truncation and tags of EuroCity Persons; give data of format ecp, or "
            "look for ap"
        )
    if metric != "loss" and metric not in numbers_of(judged, NOTHING_FOUND, metric):
        raise UsageError(
            f"--objective {metric}: nothing in the part of {part} ({len(judged)} pictures) to measure it on; look for "
            "ap, or give more pictures"
        )


def _ignition(data: str | Path | None, phases: tuple[str, ...]) -> Ignition:
    """Settle what a study re-ignites with. Raises: UsageError, DataError."""
    side = LARGEST_SIDE["cuda" if torch.cuda.is_available() else "cpu"]
    if data is None:
        return Ignition(side=side)
    if "reignite" not in phases:
        raise UsageError("--reignite-data is for re-ignition; add reignite to --phases, or leave it out")
    path = data_folder(data)
    return Ignition(path=path, fingerprint=open_folders(Path(path)).fingerprint, side=side)
