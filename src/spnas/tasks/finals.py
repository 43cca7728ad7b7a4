"""From search to verdict: who goes into the finals, and what they say."""

from functools import partial

import msgspec

from spnas.arch import Arch, Candidate
from spnas.config import StudySettings, rival_of, spend
from spnas.errors import UsageError
from spnas.latency import predictor
from spnas.search.front import price_of
from spnas.search.history import CostOf, History
from spnas.search.phases import final
from spnas.search.settings import Plan
from spnas.search.verdict import Verdict, judge
from spnas.study import Study
from spnas.tasks.clock import stopwatch


def cost_for(settings: StudySettings, size: tuple[int, int]) -> CostOf:
    """Return what tells the costs that the budget bounds."""
    return partial(
        spend,
        size=size,
        milliseconds=predictor(settings.latency) if settings.latency else None,
        memory=settings.search.budget.mib is not None,
    )


def refuse_dead_root(study: Study) -> None:
    """Raise UsageError when there is nothing to inherit from."""
    if failure := study.outcomes[0].failure:
        raise UsageError(f"the root could not be trained ({failure}); begin anew with another --out")


class Finalists(msgspec.Struct, frozen=True):
    """Who goes into the finals: numbers of candidates, the search's answer first, and the rival's architecture."""

    chosen: list[int]
    rival: Arch


def settle_finalists(study: Study, settings: StudySettings, size: tuple[int, int]) -> tuple[list[int], Arch]:
    """Settle who goes into the finals, once, and put it on record."""
    noted = study.ledger.noted("finalists", Finalists)
    if noted is None:
        searched = tuple(c for c in study.candidates if c.role not in ("final", "rival"))
        bound, time = settings.search.budget.milliseconds, stopwatch(size, settings.recipe)
        chosen = final.finalists(
            History(searched, study.outcomes),
            settings.search,
            price=price_of(settings.search.budget, cost_for(settings, size)),
            fits=lambda arch: bound is None or time(arch) <= bound,
        )
        arch, width = study.candidates[chosen[0]].arch, settings.search.space.base_width
        noted = Finalists(chosen, rival_of(arch, size, width, time if bound is not None else None))
        study.ledger.note("finalists", noted)
    return noted.chosen, noted.rival


def why_not_judged(study: Study, plan: Plan) -> str:
    """Say why there is no verdict, and what to do."""
    finals = [c for c in study.candidates if c.role in ("final", "rival")]
    failures = [study.outcomes[c.number].failure for c in finals if c.number in study.outcomes]
    if all(failures) and failures:
        return f"no final could be trained ({failures[0]}); begin anew with another --out"
    if len(finals) >= (plan.finalists + 1) * plan.seeds:
        return f"all trainings of one side failed ({next(filter(None, failures))}); begin anew with another --out"
    return "the hours are used up before the finals are done; give more --hours to go on"


def judge_finals(study: Study, chosen: list[int], plan: Plan) -> Verdict | None:
    """Judge the finals when all of them are there; a failed one is left out."""
    finals = [c for c in study.candidates if c.role in ("final", "rival")]
    if len(finals) < (plan.finalists + 1) * plan.seeds and len(finals) < (len(chosen) + 1) * plan.seeds:
        return None

    def aps(wanted: list[Candidate]) -> list[float]:
        return [study.outcomes[c.number].metrics["ap"] for c in wanted if not study.outcomes[c.number].failure]

    groups = [aps([c for c in finals if c.role == "final" and c.finalist == n]) for n in chosen]
    rival = aps([c for c in finals if c.role == "rival"])
    if not groups[0] or not rival:
        return None
    verdict = judge(chosen[0], groups[0], rival, groups[1:])
    study.ledger.note("verdict", verdict)
    return verdict
