"""From search to verdict: who goes into the finals, and what they say."""

from functools import partial

import msgspec

from spnas.arch import Arch, Candidate
from spnas.config import StudySettings, rival_of, spend
from spnas.errors import UsageError
from spnas.latency import predictor
from spnas.search.budget import CostOf
from spnas.search.finalists import Finalists, choose
from spnas.search.settings import Plan
from spnas.search.verdict import COPIES, SEARCH, Sides, Verdict, judge
from spnas.study import Study
from spnas.tasks.clock import stopwatch


def cost_for(settings: StudySettings, size: tuple[int, int]) -> CostOf:
    """Return what tells the costs that the budget bounds, and the one that the front is drawn against."""
    return partial(
        spend,
        size=size,
        milliseconds=predictor(settings.latency) if settings.latency else None,
        memory=settings.search.budget.mib is not None or settings.search.objective.against == "mib",
    )


def refuse_dead_root(study: Study) -> None:
    """Raise UsageError when there is nothing to inherit from."""
    first = study.outcomes.get(0)
    if first is not None and first.failure and study.candidates[0].role in ("root", "reignite"):
        raise UsageError(f"the root could not be trained ({first.failure}); begin anew with another --out")


def settle_finalists(study: Study, settings: StudySettings, size: tuple[int, int]) -> Finalists:
    """Settle who goes into the finals, once, and put it on record."""
    noted = study.ledger.noted("finalists", Finalists)
    if noted is None:
        bound, time = settings.search.budget.milliseconds, stopwatch(size, settings.recipe)

        def fits(arch: Arch) -> bool:
            return bound is None or time(arch) <= bound

        nets = choose(study.archive, settings.search, cost_for(settings, size), fits=fits)
        width = settings.search.space.base_width
        rival = rival_of(nets[0].arch, size, width, time if bound is not None else None)
        noted = Finalists(nets=nets, rival=rival)
        study.ledger.note("finalists", noted)
    study.archive.finalists = noted
    return noted


def why_not_judged(study: Study, plan: Plan, finalists: Finalists) -> str:
    """Say why there is no verdict, and what to do."""
    finals = [c for c in study.candidates if c.role in ("final", "rival")]
    failures = [study.outcomes[c.number].failure for c in finals if c.number in study.outcomes]
    if all(failures) and failures:
        return f"no final could be trained ({failures[0]}); begin anew with another --out"
    if len(finals) >= (len(finalists.nets) + 1) * plan.seeds:
        return f"all trainings of one side failed ({next(filter(None, failures))}); begin anew with another --out"
    return "the hours are used up before the finals are done; give more --hours to go on"


def judge_finals(study: Study, settings: StudySettings, finalists: Finalists) -> tuple[Verdict | None, Verdict | None]:
    """Judge the finals when all of them are there, a failed one left out: did the search pay, and did copies pay."""
    finals = [c for c in study.candidates if c.role in ("final", "rival")]
    if len(finals) < (len(finalists.nets) + 1) * settings.search.plan.seeds:
        return None, None
    metric = settings.search.objective.metric

    def values(wanted: list[Candidate]) -> list[float]:
        good = [study.outcomes[c.number].metrics for c in wanted if not study.outcomes[c.number].failure]
        return [metrics[metric] for metrics in good if metric in metrics]

    groups = [values([c for c in finals if c.role == "final" and c.finalist == i]) for i in range(len(finalists.nets))]
    groups.append(values([c for c in finals if c.role == "rival"]))

    def verdict(ours: int | None, theirs: int | None, sides: Sides) -> Verdict | None:
        if ours is None or theirs is None or not groups[ours] or not groups[theirs]:
            return None
        others = [group for i, group in enumerate(groups) if i not in (ours, theirs)]
        named = msgspec.structs.replace(sides, metric=metric)
        said = judge(finalists.nets[ours].candidate, groups[ours], groups[theirs], others, named)
        study.ledger.note("verdict" if sides is SEARCH else "verdict on copies", said)
        return said

    copies = verdict(finalists.place("copies"), finalists.place("depth"), COPIES)
    return verdict(0, len(groups) - 1, SEARCH), copies
