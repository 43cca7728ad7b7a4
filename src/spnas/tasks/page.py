"""The report of a study, filled in from its ledger, its data and its finals."""

import math
import platform
import statistics
from importlib.metadata import version

import msgspec
import torch

from spnas.arch import Arch, Outcome
from spnas.assess import input_size
from spnas.config import StudySettings, data_name
from spnas.data.records import DataSet
from spnas.nets.cost import cost
from spnas.report import records
from spnas.report.text import metric
from spnas.runs.folder import RunFolder
from spnas.search.budget import BAND_LOW
from spnas.search.finalists import Finalists
from spnas.search.objective import METRICS, Against
from spnas.search.verdict import Verdict, t_quantile
from spnas.study import Study
from spnas.talk import duration
from spnas.tasks.finals import finals_by_net
from spnas.tasks.gallery import gallery
from spnas.tasks.source import findings_of


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a report tells of, besides the history."""

    settings: StudySettings
    data: DataSet
    verdict: Verdict | None
    copies: Verdict | None
    finalists: Finalists
    milliseconds: dict[str, float] = {}  # whole nets by their notation, timed where the budget is in milliseconds


def study_page(folder: RunFolder, study: Study, told: Told) -> records.StudyPage:
    """Return the whole page."""
    settings, data = told.settings, told.data
    size = input_size(data.train, settings.recipe.resize)
    name = data_name(settings.data)
    finals = _finals(study, told)
    return records.StudyPage(
        title=f"A detection backbone for {name}",
        subtitle=f"{len(data.train)} pictures to learn from, {len(data.val)} to judge on",
        verdict=_verdict(study, told, finals),
        axes=_axes(settings),
        candidates=_candidates(study),
        winner=told.finalists.nets[0].candidate,
        finals=finals,
        archs=_archs(told, size),
        by_class=_by_class(study, told),
        classes=data.val.classes,
        pictures=gallery(folder, data.val, settings.recipe, _shown(study, told)),
        data=_data_facts(data, settings),
        findings=tuple(
            records.Finding(
                kind="quarantined" if line.startswith("quarantined") else "noted",
                text=line.removeprefix("quarantined: ").removeprefix("noted: "),
            )
            for line in findings_of(data.reports)
        ),
        settings=_setting_facts(settings, size),
        run=(
            *_times(told),
            records.Fact("time", duration(study.seconds), "over all sittings"),
            records.Fact("machine", f"{platform.machine()}, {platform.system()}, {settings.recipe.device}"),
            records.Fact(
                "versions", f"spnas {version('spnas')}, torch {torch.__version__}, Python {platform.python_version()}"
            ),
        ),
        commands=_commands(folder, settings),
    )


UNITS: dict[Against, tuple[str, float]] = {  # of a cost: as it is printed, and how many of its own one of that is
    "gmacs": ("GMACs", 1.0),
    "params": ("million parameters", 1e6),
    "milliseconds": ("ms", 1.0),
    "mib": ("MiB", 1.0),
}
NAMES = {"found": "searched", "copies": "searched, best with copies", "depth": "serial net of equal cost"}


def _axes(settings: StudySettings) -> records.Axes:
    objective = settings.search.objective
    unit, size = UNITS[objective.against]
    bound = getattr(settings.search.budget, objective.against)
    band = (BAND_LOW * bound / size, bound / size) if bound else None
    return records.Axes(metric=objective.metric, cost=unit, band=band)


def _price(study: Study, arch: Arch) -> float:
    """Return what a net costs in the unit of the report's axes."""
    return study.archive.price(arch) / UNITS[study.archive.objective.against][1]


def _candidates(study: Study) -> tuple[records.CandidateRow, ...]:
    """Return what was trained in the search, classifiers not counted; what was gone on with stands there once."""
    archive = study.archive
    gone_on_with = {c.continues for c in study.candidates if c.continues is not None}
    on_front = {p.number for p in archive.front.points()}
    return tuple(
        records.CandidateRow(
            candidate=c,
            outcome=study.outcomes.get(c.number),
            cost=_price(study, c.arch),
            fitness=archive.fitness.get(c.number),
            gain=archive.gains.get(c.number),
            on_front=c.number in on_front,
        )
        for c in study.candidates
        if c.role not in ("final", "rival", "reignite") and c.number not in gone_on_with
    )


def _done(study: Study, told: Told) -> list[tuple[str, records.PartRole, int | None, list[Outcome], Arch]]:
    """Group the finals that succeeded: name, role, candidate, outcomes over seeds, architecture."""
    groups: list[tuple[str, records.PartRole, int | None, list[Outcome], Arch]] = []
    *sides, rivals = finals_by_net(study, told.finalists)
    for net, outcomes in zip(told.finalists.nets, sides, strict=True):
        role: records.PartRole = "rival" if net.label == "depth" else "searched"
        origin = "" if net.candidate is None else f", candidate {net.candidate}"
        groups.append((NAMES[net.label] + origin, role, net.candidate, outcomes, net.arch))
    return [*groups, ("ResNet of equal cost", "rival", None, rivals, told.finalists.rival)]


def _finals(study: Study, told: Told) -> tuple[records.FinalRow, ...]:
    groups = [group for group in _done(study, told) if group[3]]
    aps = [[o.metrics["ap"] for o in group[3]] for group in groups]
    degrees = sum(len(a) - 1 for a in aps)
    spread = (
        math.sqrt(sum(statistics.variance(a) * (len(a) - 1) for a in aps if len(a) > 1) / degrees) if degrees else 0
    )
    rows = []
    for (name, role, number, outcomes, arch), ap in zip(groups, aps, strict=True):
        mean, half = statistics.fmean(ap), t_quantile(degrees) * spread / math.sqrt(len(ap)) if degrees else 0
        rows.append(
            records.FinalRow(
                name=name,
                role=role,
                arch=arch,
                gmacs=outcomes[0].gmacs,
                params=outcomes[0].params,
                aps=tuple(ap),
                interval=(mean - half, mean + half) if degrees else None,
                seconds=statistics.fmean(o.seconds for o in outcomes),
                from_candidate=number,
                cost=_price(study, arch),
            )
        )
    return tuple(rows)


def _verdict(study: Study, told: Told, finals: tuple[records.FinalRow, ...]) -> records.Verdict:
    verdict = told.verdict
    if verdict is None:
        return records.Verdict(
            answer="unfinished",
            headline="There is no verdict yet.",
            sentences=("Not all finals are done; run the same command again to go on.",),
        )
    headline, detail = verdict.sentence.split(": ", 1)
    key = told.settings.search.objective.metric
    name, (scale, digits) = metric(key), (1, 3) if key == "loss" else (100, 1)
    better = 1 if METRICS[key][0] else -1
    gain = None if key == "loss" else better * verdict.difference  # drawn in points
    ours = finals[0]
    children = sum(c.role == "child" for c in study.candidates)
    controls = sum(c.role == "control" for c in study.candidates)
    stopped = sum(c.until is not None for c in study.candidates)
    went_on = sum(c.role == "rung" for c in study.candidates)
    tried = f"{children} candidates were tried"
    if stopped:
        tried += f", {stopped - went_on} of them stopped after a third of their steps"
    if controls:
        tried += f"; {controls} controls are nets merely trained on for as long"
    return records.Verdict(
        answer="undecided" if verdict.paid is None else "better" if verdict.paid else "worse",
        headline=headline + ".",
        sentences=(
            detail[0].upper() + detail[1:],
            f"Both were trained from scratch for {told.settings.search.plan.final_steps} steps with the same "
            f"{len(verdict.finalist_ap)} seeds and judged on pictures that the search never saw.",
            tried + ".",
            *((told.copies.sentence,) if told.copies else ()),
        ),
        gain=gain,
        interval=None
        if verdict.half_width is None or gain is None
        else (gain - verdict.half_width, gain + verdict.half_width),
        numbers=(
            records.Fact(f"{name} searched", f"{scale * statistics.fmean(verdict.finalist_ap):.{digits}f}"),
            records.Fact(f"{name} rival", f"{scale * statistics.fmean(verdict.rival_ap):.{digits}f}"),
            records.Fact("cost", f"{ours.gmacs:.3g} GMAC", f"{ours.params / 1e6:.2f}M parameters"),
            records.Fact("time", duration(study.seconds)),
        ),
    )


def _times(told: Told) -> tuple[records.Fact, ...]:
    named = (("searched", told.finalists.nets[0].arch.text), ("rival", told.finalists.rival.text))
    words = [f"{name} {told.milliseconds[text]:.2f} ms" for name, text in named if text in told.milliseconds]
    return (records.Fact("forward pass", ", ".join(words), "of the whole backbone, one picture"),) if words else ()


def _archs(told: Told, size: tuple[int, int]) -> tuple[records.DrawnArch, ...]:
    drawn: list[tuple[str, records.PartRole, Arch]] = [
        (NAMES[net.label], "rival" if net.label == "depth" else "searched", net.arch) for net in told.finalists.nets
    ]
    drawn += [
        ("ResNet of equal cost", "rival", told.finalists.rival),
        ("root of the search", "root", told.settings.search.root),
    ]
    return tuple(
        records.DrawnArch(
            name=name, role=role, arch=arch, stage_gmacs=tuple(m / 1e9 for m in cost(arch, *size).stage_macs)
        )
        for name, role, arch in drawn
    )


def _by_class(study: Study, told: Told) -> records.ClassTable | None:
    groups = [group for group in _done(study, told) if group[3]]
    if len(groups) < 2:
        return None
    picked = (groups[0], groups[-1])
    val = told.data.val

    def mean(outcomes: list[Outcome], name: str) -> float | None:
        values = [o.metrics[f"ap of {name}"] for o in outcomes if f"ap of {name}" in o.metrics]
        return statistics.fmean(values) if values else None

    rows = tuple(
        records.ClassRow(name=name, boxes=int((val.labels == i).sum()), aps=tuple(mean(g[3], name) for g in picked))
        for i, name in enumerate(val.classes)
    )
    return records.ClassTable(columns=("searched", "rival"), rows=rows)


def _shown(study: Study, told: Told) -> list[tuple[str, Outcome]]:
    """Choose whose detections are drawn: the best seed of the finalist, and of the rival."""
    groups = [group for group in _done(study, told) if group[3]]
    best = [(name, max(outcomes, key=lambda o: o.metrics["ap"])) for name, _, _, outcomes, _ in groups]
    return [best[0], best[-1]] if len(best) > 1 else best


def _data_facts(data: DataSet, settings: StudySettings) -> tuple[records.Fact, ...]:
    share = settings.search_val_share
    return (
        records.Fact("data", data_name(settings.data), f"{data.format} format"),
        records.Fact(
            "train",
            f"{len(data.train)} pictures, {len(data.train.labels)} boxes",
            f"{share:.0%} of them were set aside to rank candidates, and are learned from in the finals only",
        ),
        records.Fact("val", f"{len(data.val)} pictures, {len(data.val.labels)} boxes", "seen by the finals only"),
        records.Fact("fingerprint", data.fingerprint[:16]),
    )


def _setting_facts(settings: StudySettings, size: tuple[int, int]) -> tuple[records.Fact, ...]:
    plan, train = settings.search.plan, settings.recipe.train_settings
    return (
        records.Fact("detector", f"{settings.recipe.detector}, recipe {settings.recipe_name}"),
        records.Fact("input", f"{size[1]}x{size[0]} pixels"),
        records.Fact("budget", str(settings.search.budget), "of the backbone, for one picture of this size"),
        records.Fact(
            "training",
            f"{train.optimizer}, rate {train.rate:g}, batches of {train.batch_size}, {train.schedule}",
            f"root {plan.root_steps} steps, candidates {plan.child_steps}, finals {plan.final_steps}",
        ),
        records.Fact("search", f"preset {settings.search.preset}", f"phases {', '.join(settings.search.phases)}"),
        records.Fact("looked for", str(settings.search.objective)),
        records.Fact("seed", str(settings.search.seed)),
    )


def _commands(folder: RunFolder, settings: StudySettings) -> tuple[records.Command, ...]:
    best = folder.best
    data = f" --data {settings.data.path}" if settings.data.path else ""
    return (
        records.Command("find objects in pictures", f"spnas predict PICTURES --model {best}"),
        records.Command("evaluate on val again", f"spnas evaluate {best}{data}"),
        records.Command("check the data", f"spnas doctor{' ' + settings.data.path if settings.data.path else ''}"),
        records.Command("print what was tried", f"spnas ledger dump {folder.root}"),
    )
