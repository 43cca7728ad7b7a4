import pytest

from spnas.errors import UsageError
from spnas.search.budget import Budget, parse_budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("6GMAC", Budget(gmacs=6.0)),
        ("0.5gmacs", Budget(gmacs=0.5)),
        ("300MMAC", Budget(gmacs=0.3)),
        ("2.5Mparams", Budget(params=2_500_000)),
        ("900K params", Budget(params=900_000)),
    ],
)
def test_budgets_are_read_in_the_units_people_write(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["6", "GMAC", "-1GMAC", "0GMAC", "6GFLOPS", "inf GMAC", "1e3GMAC"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="write it as 6GMAC"):
        parse_budget(text)


def test_a_bound_that_is_not_there_is_never_exceeded() -> None:
    assert not Budget().exceeded(1e9, 10**12)
    assert Budget(gmacs=1.0).exceeded(1.01, 0)
    assert not Budget(gmacs=1.0).exceeded(1.0, 10**12)
    assert Budget(params=10).exceeded(0, 11)
