"""What a search will take: the plan is the search's own, and the sums are laid out as its workers would do them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.search.conftest import ROOT, cost, make

from spnas.config import StudySettings, Wishes
from spnas.data.open import open_data
from spnas.errors import UsageError
from spnas.runs.folder import RunFolder
from spnas.search import forecast
from spnas.search.archive import Archive
from spnas.search.forecast import Habits, lay_out, left, usual_weight
from spnas.search.settings import SearchSettings
from spnas.search.tempo import Tempo, Training, first_guess, learned
from spnas.talk import Talk
from spnas.tasks import estimate, measure, search
from spnas.tasks.compose import settings_for
from spnas.tasks.estimate import Estimate, describe, error_of, tempo_of
from spnas.tasks.measure import Measured, Told
from spnas.tasks.phases import Crew

OPTIONS: dict[str, Any] = {"root": "basic: 8x1 / 16x1 / 32x1 / 64x1", "image_size": 64, "batch_size": 4}
FEW = Wishes(candidates=1, steps=2, seeds=1)


@pytest.fixture(scope="module")
def estimated(tiny_folder: Path) -> Estimate:
    """One measurement for all: two processes, re-ignition included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "SECONDS", 0.5)
        return estimate(
            tiny_folder,
            wishes=Wishes(candidates=30, steps=80, seeds=2),
            phases=("serial", "reignite", "parallel", "final"),
            workers=2,
            **OPTIONS,
        )


def test_an_estimate_is_whole(estimated: Estimate) -> None:
    """Hours of the phases add up; every range holds what is expected; nothing is free."""
    assert [p.name for p in estimated.phases] == ["serial", "reignite", "parallel", "final"]
    assert sum(p.hours.expected for p in estimated.phases) == pytest.approx(estimated.hours.expected, abs=1e-3)
    for spread in (estimated.hours, estimated.memory_mib, estimated.disk_mib):
        assert 0 < spread.low <= spread.expected <= spread.high
    assert 0 < estimated.processor_hours <= 1.2 * estimated.worker_hours
    assert estimated.worker_hours <= 2 * estimated.hours.expected * 1.05
    assert estimated.measured.classifier is not None
    assert min(estimated.measured.classifier.steps) > 0
    assert estimated.measured.processes == min(2, estimated.cores)
    assert estimated.slow_down >= 1
    assert msgspec.json.decode(msgspec.json.encode(estimated), type=Estimate) == estimated
    text = "\n".join(describe(estimated))
    assert "in all" in text
    assert "assumed: controls, rungs" in text


def test_the_measurement_is_of_what_a_search_does(estimated: Estimate) -> None:
    """The larger net is at the upper end of the budget, and its child started from the root's weights."""
    assert estimated.measured.weight > 1.2
    assert estimated.root == "basic: 8x1 / 16x1 / 32x1 / 64x1"
    assert estimated.larger != estimated.root
    for told in (estimated.measured.alone, *estimated.measured.roots, *estimated.measured.larger):
        assert len(told.steps) >= 4
        assert min(told.steps) > 0
        assert told.look > 0
        assert told.peak_mib > 50
    assert estimated.measured.alone.model_mib > 0.1


@pytest.mark.parametrize(
    "more", [{}, {"preset": "paper"}, {"budget": "30MMAC", "objective": "ap50", "lag": 2, "seed": 3}]
)
def test_the_plan_is_that_of_the_search_with_the_same_options(
    tiny_folder: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    """All settings are, down to the fingerprint of the data."""
    options = {**OPTIONS, "phases": ("serial",), **more}
    crew = Crew(executor="inline")
    search(tiny_folder, out=tmp_path / "run", wishes=FEW, crew=crew, **options)
    written = msgspec.json.decode(RunFolder(tmp_path / "run").settings(), type=StudySettings)
    settings, _ = settings_for(tiny_folder, workers=1, talk=Talk(quiet=True), wishes=FEW, **options)
    assert settings == written


def test_what_the_search_refuses_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(UsageError, match="--copies is for the parallel phase"):
        estimate(tiny_folder, wishes=Wishes(copies=3), phases=("serial",), **OPTIONS)
    with pytest.raises(UsageError, match="--preset"):
        estimate(tiny_folder, preset="nonesuch", **OPTIONS)


def settings_of(phases: tuple[str, ...] = ("serial", "parallel", "final"), preset: str = "plus") -> SearchSettings:
    return make(preset, phases=phases)


def whole(settings: SearchSettings, habits: Habits) -> list[list[Training]]:
    return forecast.whole(settings.plan, settings.rules, settings.phases, habits)


def even(training: Training, _alone: bool) -> float:
    return training.share


def test_workers_never_pass_the_lag_and_the_root_is_alone() -> None:
    """Ten equal trainings after a root: one, two, four at once, and with lag 4 no more."""
    stream = [[Training("root", 1), *[Training("search", 1)] * 12]]
    ends = {w: lay_out(stream, seconds=even, workers=w, lag=4)[-1] for w in (1, 2, 4, 16)}
    assert ends[1] == pytest.approx(13, rel=0.01)
    assert ends[2] == pytest.approx(7, rel=0.05)
    assert ends[4] == ends[16] == pytest.approx(4, rel=0.1)
    assert lay_out(stream, seconds=even, workers=16, lag=1)[-1] == pytest.approx(13, rel=0.01)


def test_a_phase_waits_for_all_of_the_one_before() -> None:
    """A long last training keeps the finals waiting, and what is running keeps its worker."""
    stream = [[Training("search", 1), Training("search", 1, share=5.0)], [Training("final", 1)]]
    first, second = lay_out(stream, seconds=even, workers=4, lag=4)
    assert second - first == pytest.approx(0.9, abs=0.2)
    assert first >= 5
    assert lay_out([[Training("search", 1)]], seconds=even, workers=1, lag=4, running=[7.0])[-1] >= 7.9
    assert lay_out([[]], seconds=even, workers=2, lag=4, running=[3.0, 2.0]) == [3.0]


def test_nothing_is_left_of_what_is_whole_but_what_was_done() -> None:
    """Before the first candidate, what is left is the whole, as far as habits are the same."""
    settings = settings_of()
    archive = Archive(settings.rules, settings.objective, cost)
    plan = settings.plan
    rest = left(archive, settings, ())
    assert [len(stream) for stream in rest] == [len(stream) for stream in whole(settings, Habits(weight=1.84))]
    assert rest[0][0] == Training("root", plan.root_steps)
    children = [t for t in rest[0] if t.steps == plan.rung_steps]
    assert len(children) == plan.candidates
    assert [len(stream) for stream in left(archive, settings, ("serial", "parallel", "final"))] == []


def test_re_ignitions_take_the_place_of_children() -> None:
    settings = settings_of(("serial", "reignite"))
    counts = [[t.kind for t in whole(settings, Habits(ignitions=n))[0]].count("ignition") for n in range(3)]
    assert counts == [0, 1, 2]
    steps = [sum(t.steps == settings.plan.rung_steps for t in whole(settings, Habits(ignitions=n))[0]) for n in (0, 1)]
    assert steps[0] - steps[1] == settings.plan.ignition_charge


def test_presets_without_controls_and_rungs_train_children_whole() -> None:
    settings = settings_of(("serial",), "paper")
    assert [t.steps for t in whole(settings, Habits())[0]] == [settings.plan.root_steps] + [
        settings.plan.child_steps
    ] * settings.plan.candidates
    assert usual_weight(settings, cost(ROOT).gmacs) < usual_weight(settings_of(("serial",)), cost(ROOT).gmacs)


def test_a_tempo_is_found_again_in_what_it_took() -> None:
    """Made-up trainings of a known tempo: what is learned predicts others of them."""
    truth = Tempo(step=0.2, crowded=1.6, growth=0.6, look=4.0, final_look=9.0)
    root, child = Training("root", 400), Training("search", 60, weight=1.5)
    control, final = Training("search", 60, looks=2, weight=1.2), Training("final", 400, weight=1.6)
    done = [(root, truth.seconds(root, alone=True))] + [(t, truth.seconds(t)) for t in (child, control, child, final)]
    found = learned(done, first_guess(0.3), workers=2)
    for training in (child, control, final, Training("final", 800, weight=1.1)):
        assert found.seconds(training) == pytest.approx(truth.seconds(training), rel=0.1)
    assert learned([], truth, workers=2) == truth


def test_a_measurement_becomes_seconds(tiny_folder: Path) -> None:
    """A step of the larger net costs more by its MACs and by the company; looks are counted per picture."""
    opened = open_data(tiny_folder)
    settings, _ = settings_for(tiny_folder, workers=2, talk=Talk(quiet=True), wishes=FEW, **OPTIONS)
    alone = Told(steps=(0.1,) * 8, begin=1.0, look=0.01)
    found = Measured(
        processes=2,
        startup=5.0,
        alone=alone,
        roots=(Told(steps=(0.15,) * 8, look=0.015),) * 2,
        larger=(Told(steps=(0.225,) * 8, begin=1.0, look=0.015),) * 2,
        weight=2.0,
    )
    tempo = tempo_of(found, settings, opened)
    assert (tempo.step, tempo.crowded, tempo.growth) == pytest.approx((0.1, 1.5, 0.5))
    assert tempo.seconds(Training("search", 10, looks=0, weight=2.0)) == pytest.approx(1.0 + 10 * 0.225)
    assert tempo.final_look == pytest.approx(0.01 * len(opened.val))
    even_error = error_of(found)
    rough = msgspec.structs.replace(found, alone=msgspec.structs.replace(alone, steps=(0.1,) * 4 + (0.2,) * 4))
    assert error_of(rough) > even_error > 0
