import pytest

from spnas.errors import UsageError
from spnas.search.objective import COSTS, METRICS, Objective, check_against, check_metric


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_more_value_is_always_better_and_the_worst_is_worth_nothing(metric: str) -> None:
    more, worst = METRICS[metric]
    objective = Objective(metric=metric)
    good = worst + (0.5 if more else -0.5)
    assert objective.value({metric: worst}) == 0
    assert objective.value({metric: good}) == pytest.approx(0.5)
    assert objective.value({"another": good}) is None


def test_a_miss_rate_and_a_loss_are_less_is_better() -> None:
    assert [name for name, (more, _) in METRICS.items() if not more] == ["lamr", "loss"]
    assert str(Objective(metric="lamr", reference=2)) == "less lamr for less gmacs; hypervolume from lamr 1 and gmacs 2"


def test_unknown_names_are_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match=r"--objective 'map'.*ap"):
        check_metric("map")
    with pytest.raises(UsageError, match="--against 'flops'"):
        check_against("flops")
    assert check_metric("ap_small") == "ap_small"
    assert check_against("ms") == "milliseconds"
    assert set(COSTS) == {"gmacs", "params", "ms", "mib"}
