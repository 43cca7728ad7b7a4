"""`spnas search`: grow a backbone for these data within this budget, and say whether it paid."""

from pathlib import Path

import msgspec

from spnas.assess import input_size
from spnas.config import StudySettings, Wishes, data_name
from spnas.data.choice import DataChoice
from spnas.data.records import DataSet
from spnas.errors import UsageError
from spnas.nets.memory import activation_mib
from spnas.runs.folder import RunFolder
from spnas.search.settings import LAG
from spnas.search.verdict import Verdict
from spnas.talk import Talk, duration
from spnas.tasks.clock import place_of, time_finals
from spnas.tasks.compose import asked_for, settings_of
from spnas.tasks.finals import cost_for, judge_finals, why_not_judged
from spnas.tasks.finish import finish
from spnas.tasks.page import Told
from spnas.tasks.phases import Crew, crew_of, cut_phases, run_phases, study_of
from spnas.tasks.progress import Watcher
from spnas.tasks.resume import begin_or_go_on, refuse_undecodable, stored_settings


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a search leaves: where it lies, and its verdict (None while the finals are not done, or there are none).

    copies_verdict: whether parallel copies beat as many MACs of depth, where that was tried.
    cut: phases that the hours ended before all of their candidates were tried.
    """

    folder: str
    verdict: Verdict | None
    copies_verdict: Verdict | None = None
    why_no_verdict: str | None = None
    complete: bool = True
    cut: tuple[str, ...] = ()
    finalist: str | None = None
    rival: str | None = None
    finalist_milliseconds: float | None = None
    rival_milliseconds: float | None = None
    timed_on: str | None = None
    best: str | None = None
    best_metrics: dict[str, float] = {}
    report: str | None = None
    candidates: int = 0
    failures: int = 0
    seconds: float = 0.0


def search(
    data: str | Path | DataChoice | None = None,
    *,
    out: str | Path | None = None,
    budget: str | None = None,
    wishes: Wishes = Wishes(),  # noqa: B008  # frozen
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
    crew: Crew | None = None,
    talk: Talk | None = None,
) -> SearchResult:
    """Search, or go on with the search that `out` holds; with no `data`, on generated pictures.

    Args:
      root: an architecture to begin with; `start`, a trained model, a finished study, or a file of ImageNet weights
        whose backbone it begins with.
      crew: who does the work; processes, one a core, if not given. It changes nothing that is found.
    Raises: UsageError, DataError, StudyInUseError, ResourceError, IntegrityError: each says what to do in one line.
    """
    talk = talk or Talk(quiet=True)
    asked = asked_for(
        data,
        talk=talk,
        wishes=wishes,
        budget=budget,
        preset=preset,
        without=without,
        phases=phases,
        objective=objective,
        against=against,
        root=root,
        start=start,
        reignite_data=reignite_data,
        image_size=image_size,
        recipe=recipe,
        detector=detector,
        batch_size=batch_size,
        seed=seed,
        lag=lag,
    )
    folder = RunFolder(out or Path("runs") / data_name(asked.choice))
    refuse_undecodable(folder, asked.choice)
    crew = crew or crew_of()
    if crew.workers > lag:
        talk.say(f"{crew.workers} workers, lag {lag}: more than {lag} are at work in the finals only; see --lag")
    with folder.lock():
        stored = stored_settings(folder, StudySettings)
        source = asked.begun.sha256
        if stored and (stored.start is None) != (source is None):
            said = "without --start" if stored.start is None else "with --start"
            raise UsageError(f"{folder.root}: this study began {said}; do as then, or choose another --out")
        if stored and stored.start_source not in (None, source):
            raise UsageError(f"{folder.root}: this study began from other weights than --start {start}; give those")
        settings = settings_of(asked, stored=stored, workers=crew.workers, talk=talk)
        began_with = (folder, settings.search.root, asked.recipe, asked.opened.train)
        start_sha = stored.start if stored else asked.begun.copy_into(*began_with)
        source = stored.start_source if stored else source
        settings = msgspec.structs.replace(settings, start=start_sha, start_source=source)
        begin_or_go_on(folder, settings, stored)
        _introduce(settings, asked.size, talk)
        return _run(folder, settings, asked.opened, hours=wishes.hours, crew=crew, talk=talk)


def _introduce(settings: StudySettings, size: tuple[int, int], talk: Talk) -> None:
    search, plan = settings.search, settings.search.plan
    spent = msgspec.structs.replace(cost_for(settings, size)(search.root), mib=activation_mib(search.root, *size))
    talk.say(f"root {search.root.text}: {spent} at {size[1]}x{size[0]}, budget {search.budget}")
    talk.say(f"preset {search.preset}, phases {', '.join(search.phases)}; looked for: {search.objective}")
    words = []
    if "serial" in search.phases:
        words.append(f"{plan.candidates} candidates of {plan.child_steps} steps, from a root of {plan.root_steps}")
    if "reignite" in search.phases:
        words.append(f"a re-ignition of {plan.ignite_steps} steps counts as {plan.ignition_charge} candidates")
    if "parallel" in search.phases:
        words.append(f"{plan.copies} candidates with copies")
    if "final" in search.phases:
        words.append(f"finals of {plan.final_steps} steps beside an equal-cost ResNet, over {plan.seeds} seeds")
    talk.say(f"plan: {'; '.join(words)}")


def _run(
    folder: RunFolder, settings: StudySettings, data: DataSet, *, hours: float | None, crew: Crew, talk: Talk
) -> SearchResult:
    """Run all phases with one set of workers, then finish the study."""
    size = input_size(data.train, settings.recipe.resize)
    cost = cost_for(settings, size)
    with folder.open_ledger() as ledger:
        study = study_of(ledger, settings, cost)
        watcher = Watcher(study, settings.search, folder, talk, workers=crew.workers)
        with talk.progress():
            finalists = run_phases(study, settings, folder, crew=crew, cost=cost, size=size, hours=hours, watch=watcher)
        verdict, copies = judge_finals(study, settings, finalists)
        found, rival = finalists.nets[0].arch, finalists.rival
        times = time_finals(study, [found, rival], size, settings.recipe) if settings.latency else {}
        told = Told(
            settings=settings, data=data, verdict=verdict, copies=copies, finalists=finalists, milliseconds=times
        )
        best = finish(folder, study, told, talk)
        asked, cut = "final" in settings.search.phases, cut_phases(study, settings.search.phases)
        why = None
        if verdict is None:
            why = why_not_judged(study, settings.search.plan, finalists) if asked else "no final phase was asked for"
        return SearchResult(
            folder=str(folder.root),
            verdict=verdict,
            copies_verdict=copies,
            why_no_verdict=why,
            complete=(verdict is not None or not asked) and not cut,
            cut=cut,
            finalist=found.text,
            rival=rival.text,
            finalist_milliseconds=times.get(found.text),
            rival_milliseconds=times.get(rival.text),
            timed_on=str(place_of(settings.recipe)) if times else None,
            best=str(folder.best) if best is not None else None,
            best_metrics=study.outcomes[best].metrics if best is not None else {},
            report=str(folder.report),
            candidates=sum(c.role == "child" for c in study.candidates),
            failures=sum(o.failure is not None for o in study.outcomes.values()),
            seconds=study.seconds,
        )


def describe(result: SearchResult) -> list[str]:
    """Return what a person reads at the end of a search."""
    lines = [result.verdict.sentence if result.verdict else f"No verdict: {result.why_no_verdict}."]
    for phase in result.cut:
        lines.append(f"The hours ended the {phase} phase before all of its candidates were tried.")
    if result.copies_verdict:
        lines.append(result.copies_verdict.sentence)
    if result.finalist:
        lines += [f"found: {result.finalist}", f"rival: {result.rival}"]
    if result.timed_on:
        ours, theirs = result.finalist_milliseconds or 0.0, result.rival_milliseconds or 0.0
        lines.append(f"a picture takes {ours:.3g} ms, the rival {theirs:.3g} ms, timed whole on {result.timed_on}")
    if result.best:
        ap, ap50 = result.best_metrics.get("ap", 0.0), result.best_metrics.get("ap50", 0.0)
        lines.append(f"best detector: AP {ap:.3f}, AP50 {ap50:.3f}, in {result.best}")
    tried = f"{result.candidates} candidates in {duration(result.seconds)}"
    lines.append(tried + (f", {result.failures} trainings failed" if result.failures else ""))
    return lines
