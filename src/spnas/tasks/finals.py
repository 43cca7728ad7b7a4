"""From search to verdict: who goes into the finals, and what they say."""

import statistics
from functools import partial

import msgspec

from spnas.arch import Arch, Outcome
from spnas.config import StudySettings, rival_of, spend
from spnas.errors import UsageError
from spnas.latency import predictor
from spnas.search.budget import CostOf
from spnas.search.finalists import Finalists, choose
from spnas.search.rival import CLOSE
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
    begun = [c.number for c in study.candidates if c.role in ("root", "reignite")]
    known = [study.outcomes[number] for number in begun if number in study.outcomes]
    # a search that began with a root goes on without a later one, which re-ignition made
    decisive = known if study.candidates and study.candidates[0].role == "reignite" else known[:1]
    failed = [outcome.failure for outcome in decisive if outcome.failure]
    if failed:
        raise UsageError(f"the root could not be trained ({failed[0]}); begin anew with another --out")


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
    sides = finals_by_net(study, finalists)
    metric = settings.search.objective.metric
    values = [_values(side, metric) for side in sides]

    def verdict(note: str, one: int | None, other: int | None, names: Sides) -> Verdict | None:
        if one is None or other is None or not values[one] or not values[other]:
            return None
        known = study.ledger.noted(note, Verdict)
        if known is None:
            aps = [statistics.fmean(found) for i in (one, other) if (found := _values(sides[i], "ap"))]
            known = judge(
                finalists.nets[one].candidate,
                values[one],
                values[other],
                [group for i, group in enumerate(values) if i not in (one, other)],
                msgspec.structs.replace(names, metric=metric),
                best_ap=max(aps, default=0.0),
            )
            study.ledger.note(note, known)
        return known

    copies = verdict("verdict on copies", finalists.place("copies"), finalists.place("depth"), COPIES)
    by_time = settings.search.budget.milliseconds is not None
    return verdict("verdict", 0, len(sides) - 1, SEARCH if by_time else _against(sides[0], sides[-1])), copies


def finals_by_net(study: Study, finalists: Finalists) -> list[list[Outcome]]:
    """Return the finals that succeeded so far: of every finalist, and last those of the rival."""
    sides: list[list[Outcome]] = [[] for _ in (*finalists.nets, finalists.rival)]
    for candidate in study.candidates:
        outcome = study.outcomes.get(candidate.number)
        if candidate.role in ("final", "rival") and outcome is not None and not outcome.failure:
            sides[-1 if candidate.role == "rival" else candidate.finalist or 0].append(outcome)
    return sides


def _values(side: list[Outcome], metric: str) -> list[float]:
    return [outcome.metrics[metric] for outcome in side if metric in outcome.metrics]


def _against(ours: list[Outcome], rivals: list[Outcome]) -> Sides:
    """Name the rival for what it is: no ResNet may be as small as what was found."""
    if not ours or not rivals or abs(rivals[0].gmacs / ours[0].gmacs - 1) <= CLOSE:
        return SEARCH
    costs = f"{rivals[0].gmacs:.3g} GMACs to {ours[0].gmacs:.3g}"
    return msgspec.structs.replace(SEARCH, against=f"the ResNet nearest in cost ({costs})")
