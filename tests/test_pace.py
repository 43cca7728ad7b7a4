from itertools import pairwise
from pathlib import Path

import pytest

from spnas.arch import parse
from spnas.data.batches import Pictures
from spnas.data.records import DataSet
from spnas.errors import UsageError
from spnas.pace import USABLE, plan_for, seconds_per_step
from spnas.search.forecast import Habits, lay_out, whole
from spnas.search.rules import Rules
from spnas.search.tempo import Tempo
from tests.test_assess import RECIPE


@pytest.mark.parametrize("hours", [0.3, 0.5, 1, 8, 100])
@pytest.mark.parametrize("step_seconds", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("workers", [2, 16])
def test_a_plan_fits_into_its_hours(hours: float, step_seconds: float, workers: int) -> None:
    """Steps alone, laid out as the workers would train them, leave room for judging and beginning."""
    plan = plan_for(hours, step_seconds=step_seconds, workers=workers, pictures=300, batch_size=8, seeds=3)
    tempo = Tempo(step=step_seconds)
    trainings = whole(plan, Rules(), ("serial", "final"), Habits(ignitions=0))
    end = lay_out(trainings, seconds=lambda t, alone: tempo.seconds(t, alone=alone), workers=workers, lag=4)[-1]
    assert end <= hours * 3600 * USABLE
    assert plan.candidates >= 8
    if plan.candidates < 192:  # else there is more time than the longest search takes
        assert end >= 0.5 * hours * 3600


def test_more_hours_mean_no_less_of_anything() -> None:
    plans = [plan_for(h, step_seconds=0.3, workers=2, pictures=300, batch_size=8, seeds=3) for h in (0.5, 1, 2, 8, 24)]
    for short, long in pairwise(plans):
        assert long.final_steps >= short.final_steps
        assert long.final_steps > short.final_steps or long.candidates >= short.candidates


def test_a_slightly_different_measurement_makes_the_same_plan() -> None:
    plans = {
        plan_for(1, step_seconds=0.2 * (1 + i / 1000), workers=2, pictures=300, batch_size=8, seeds=3) for i in range(5)
    }
    assert len(plans) == 1


def test_too_few_hours_are_refused_with_the_least_that_would_do() -> None:
    with pytest.raises(UsageError, match=r"takes about 0\.\d+ hours"):
        plan_for(0.01, step_seconds=0.3, workers=2, pictures=300, batch_size=8, seeds=3)


def test_a_measurement_is_made_once(tiny: DataSet, tmp_path: Path) -> None:
    pictures, store = Pictures(tiny.train, RECIPE.resize), tmp_path / "cache" / "pace.json"
    arch = parse("basic: 8x1 / 16x1 / 32x1 / 64x1")
    first = seconds_per_step(arch, RECIPE, pictures, threads=1, cache=store)
    assert first > 0
    assert seconds_per_step(arch, RECIPE, pictures, threads=1, cache=store) == first
    store.write_text("{damaged")
    assert seconds_per_step(arch, RECIPE, pictures, threads=1, cache=store) > 0


def test_a_measurement_that_cannot_be_kept_is_made_all_the_same(
    tiny: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("spnas.pace._measure", lambda *_: 0.5)
    pictures, arch = Pictures(tiny.train, RECIPE.resize), parse("basic: 8x1 / 16x1 / 32x1 / 64x1")
    for store in (tmp_path / "file" / "spnas" / "pace.json", Path("/sys/nowhere/pace.json")):
        assert seconds_per_step(arch, RECIPE, pictures, threads=1, cache=store) == 0.5
