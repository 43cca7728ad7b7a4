"""What ends a search: its plan, its hours, or a root that cannot be trained."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

import msgspec
import pytest
from tests.tasks.test_watch import PLAN, SIZE, Stopped, answer, settings_of

from spnas.arch import Candidate, Outcome
from spnas.config import StudySettings, Wishes, check_phases, search_settings
from spnas.errors import OutOfTimeError, ResourceError, UsageError
from spnas.pace import plan_for
from spnas.runs.executors import WorkerDied
from spnas.runs.folder import RunFolder
from spnas.search.budget import parse_budget
from spnas.search.forecast import Habits, lay_out, whole
from spnas.search.settings import PHASES
from spnas.search.tempo import first_guess
from spnas.study import Done, Job, PhaseEnd
from spnas.talk import Talk
from spnas.tasks import phases
from spnas.tasks.clock import settle
from spnas.tasks.finals import cost_for
from spnas.tasks.phases import OVERTIME, Crew, crew_of, cut_phases, run_phases, study_of
from spnas.tasks.plan import refuse_wishes
from spnas.tasks.study import kept_events

INLINE = Crew(executor="inline")


def fails(_folder: str) -> Callable[[bytes], bytes]:
    """Say of every training that it went wrong."""

    def work(job: bytes) -> bytes:
        number = msgspec.json.decode(job, type=Job).candidate.number
        return msgspec.json.encode(Done(outcome=Outcome(number=number, failure="no luck")))

    return work


class Killing:
    """An executor whose workers are ended by a limit."""

    def submit(self, _job: bytes) -> Future[bytes]:
        future: Future[bytes] = Future()
        future.set_exception(WorkerDied("killed at 52 MiB"))
        return future

    def close(self, *, kill: bool = False) -> None:
        del kill


def sitting(
    folder: RunFolder,
    settings: StudySettings,
    *,
    hours: float | None = None,
    until: int | None = None,
) -> tuple[list[Candidate], tuple[str, ...]]:
    """Run all phases, or go on with them; return the candidates there are then, and what the hours cut short."""
    cost = cost_for(settings, SIZE)
    with folder.lock():
        folder.begin(msgspec.json.encode(settings))
        with folder.open_ledger() as ledger:
            study = study_of(ledger, settings, cost)

            def look(_running: list[Candidate]) -> None:
                if until is not None and len(study.outcomes) >= until:
                    raise Stopped

            run_phases(study, settings, folder, crew=INLINE, cost=cost, size=SIZE, hours=hours, watch=look)
            return study.candidates, cut_phases(study, settings.search.phases)


@pytest.fixture
def folder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(phases, "make_work", answer)
    return RunFolder(tmp_path / "run")


def test_a_root_that_failed_is_refused_at_every_sitting(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finals of what nobody searched for would be trained for nothing."""
    monkeypatch.setattr(phases, "make_work", fails)
    for _ in range(3):
        with pytest.raises(UsageError, match=r"the root could not be trained \(no luck\)"):
            sitting(folder, settings_of())
        with folder.open_ledger(read_only=True) as ledger:
            assert [c.role for c in ledger.candidates()] == ["root"]


def test_hours_that_end_before_a_candidate_was_tried_leave_the_search_open(folder: RunFolder) -> None:
    with pytest.raises(OutOfTimeError, match="run the same command with more --hours"):
        sitting(folder, settings_of(), hours=1e-9)
    candidates, cut = sitting(folder, settings_of())
    assert cut == ()
    assert sum(c.role == "final" for c in candidates) > 0
    children = sum(c.role == "child" and c.phase == "serial" for c in candidates)
    assert children == PLAN.candidates - 2 * PLAN.ignition_charge


def test_a_phase_that_the_hours_cut_stays_cut_and_is_told_of_at_every_sitting(folder: RunFolder) -> None:
    settings = settings_of()
    with pytest.raises(Stopped):
        sitting(folder, settings, until=12)
    tried, cut = sitting(folder, settings, hours=1e-9)
    assert cut == ("serial", "parallel")
    assert not any(c.role == "final" for c in tried)
    later, still = sitting(folder, settings)
    assert still == cut
    assert [c for c in later if c.role not in ("final", "rival")] == tried
    assert any(c.role == "final" for c in later)


def test_a_cut_goes_with_the_outcomes_it_rests_on(folder: RunFolder) -> None:
    """A repair that drops outcomes drops it too: the phase may be cut elsewhere, or not at all, later."""
    settings = settings_of()
    with pytest.raises(Stopped):
        sitting(folder, settings, until=12)
    sitting(folder, settings, hours=1e-9)
    with folder.open_ledger(read_only=True) as ledger:
        names = set(ledger.notes("_cut ", PhaseEnd))
    assert names == {"serial", "parallel"}
    with sqlite3.connect(folder.root / "ledger.sqlite") as ledger_file:
        events = ledger_file.execute("SELECT id, kind, name, body, sha256 FROM event ORDER BY id").fetchall()
    kept = kept_events(events, {5}, settings.search.lag)
    assert len(kept) < len(events)
    assert not any(name.startswith(("_cut ", "phase ")) for _, _, name, _, _ in kept)


def test_a_root_whose_worker_is_killed_leaves_the_study_open(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other limits the same command goes on."""
    monkeypatch.setattr(Crew, "open", lambda _crew, _folder: Killing())
    with pytest.raises(ResourceError, match="killed at 52 MiB; give it more time or memory"):
        sitting(folder, settings_of())
    monkeypatch.undo()
    monkeypatch.setattr(phases, "make_work", answer)
    assert len(sitting(folder, settings_of())[0]) > 1


def test_a_search_that_is_done_was_not_cut_however_late_it_is(folder: RunFolder) -> None:
    sitting(folder, settings_of())
    assert sitting(folder, settings_of(), hours=1e-9)[1] == ()


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize(
    "names", [PHASES, ("serial", "final"), ("reignite", "parallel", "final"), ("parallel", "final")]
)
def test_no_phase_of_a_usual_search_meets_its_deadline(names: tuple[str, ...], workers: int) -> None:
    """Roots that train alone, re-ignitions and idle workers are counted in."""
    search = msgspec.structs.replace(settings_of().search, phases=names, lag=max(4, workers))
    plan = plan_for(
        8, step_seconds=0.3, workers=workers, lag=search.lag, pictures=5000, batch_size=8, seeds=3, phases=names
    )
    parallel = "parallel" in names
    plan = msgspec.structs.replace(
        plan, copies=plan.candidates if parallel else 0, ignite_steps=plan.root_steps // 2, finalists=1 + 2 * parallel
    )
    settings = msgspec.structs.replace(settings_of(), search=msgspec.structs.replace(search, plan=plan))
    ends = lay_out(
        whole(plan, search.rules, names, Habits()),
        seconds=lambda t, alone: first_guess(0.3).seconds(t, alone=alone),
        workers=workers,
        lag=search.lag,
    )
    deadlines = [phases._deadline(settings, name, ends[-1] / 3600, workers=workers) for name in names]
    assert deadlines == sorted(deadlines)
    assert deadlines[-1] == pytest.approx(OVERTIME * ends[-1])
    assert all(deadline > end for deadline, end in zip(deadlines, ends, strict=True))


@pytest.mark.parametrize(
    ("names", "preset", "budget", "reason"),
    [
        (("serial", "parallel"), "plus", "12ms", "for serial nets"),
        (("serial", "reignite"), "plus", "12ms", "changes the stem"),
        (("serial", "reignite"), "vega-v1", "1GMAC", "never re-ignites"),
        (("serial", "cereal"), "plus", "1GMAC", "did you mean"),
        ((), "plus", "1GMAC", "at least one"),
    ],
)
def test_phases_that_cannot_be_are_refused_by_name(
    names: tuple[str, ...], preset: str, budget: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        check_phases(names, preset, parse_budget(budget))


def test_limits_of_workers_are_refused_where_there_are_none() -> None:
    for limit in ({"gpus_per_worker": 1.0}, {"mib_limit": 10}, {"seconds_limit": 1.0}):
        with pytest.raises(UsageError, match="--executor inline has none"):
            crew_of(executor="inline", **limit)  # type: ignore[arg-type]


def test_no_hours_at_all_are_refused() -> None:
    with pytest.raises(UsageError, match="--hours 0: give more than 0"):
        refuse_wishes(Wishes(hours=0), ("serial",))


def test_a_study_in_milliseconds_that_goes_on_sees_every_option_that_differs() -> None:
    """What was timed is kept; what is asked for is what comes out, and so is compared with what was stored."""
    budget = parse_budget("12ms")
    compose = partial(
        search_settings, recipe_name="small", size=SIZE, budget=budget, root=None, plan=PLAN, seed=0, phases=("serial",)
    )
    first = compose(time=lambda _: 6.0)
    stored = msgspec.structs.replace(settings_of(), search=first, latency=object())
    told = {"budget": budget, "root": None, "size": SIZE, "recipe": stored.recipe, "talk": Talk(quiet=True)}
    assert settle(compose, stored, **told) == (first, stored.latency)  # type: ignore[arg-type]
    other, _ = settle(partial(compose, preset="paper", metric="ap50", lag=16), stored, **told)  # type: ignore[arg-type]
    assert (other.preset, other.objective.metric, other.lag) == ("paper", "ap50", 16)
    assert other.root == first.root
