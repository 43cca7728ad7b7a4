import pytest

from spnas.train.schedule import Schedule, rate


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "steps"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (2, 1), (100, 0), (100, 10), (100, 100)])
def test_a_rate_is_a_share_of_the_peak_at_every_step(schedule: Schedule, steps: int, warmup: int) -> None:
    rates = [rate(schedule, step, steps, warmup) for step in range(steps)]
    assert all(0 <= r <= 1 for r in rates)


def test_onecycle_rises_over_a_third_and_falls_to_almost_nothing() -> None:
    rates = [rate("onecycle", step, 1000, 0) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates.index(max(rates)) == 300
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 2e-4


def test_cosine_warms_up_linearly_and_ends_at_nothing() -> None:
    rates = [rate("cosine", step, 100, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[-1] < 1e-3


def test_steps_divides_by_ten_at_two_thirds_and_eight_ninths() -> None:
    rates = [rate("steps", step, 90, 0) for step in range(90)]
    assert rates[:60] == [1.0] * 60
    assert rates[60:80] == pytest.approx([0.1] * 20)
    assert rates[80:] == pytest.approx([0.01] * 10)


def test_short_trainings_are_not_all_warm_up() -> None:
    rates = [rate("steps", step, 60, 500) for step in range(60)]
    assert max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.01)


def test_the_shares_at_which_it_drops_can_be_said() -> None:
    """24 epochs of 10 steps, as the paper's: a tenth from epoch 16, a hundredth from epoch 22."""
    rates = [rate("steps", step, 240, 0, drops=(16 / 24, 22 / 24)) for step in range(240)]
    assert rates[:160] == [1.0] * 160
    assert rates[160:220] == pytest.approx([0.1] * 60)
    assert rates[220:] == pytest.approx([0.01] * 20)
