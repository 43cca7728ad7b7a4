import pytest

from spnas.errors import UsageError
from spnas.search.budget import Budget, Spent, parse_budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("6GMAC", Budget(gmacs=6.0)),
        ("0.5gmacs", Budget(gmacs=0.5)),
        ("300MMAC", Budget(gmacs=0.3)),
        ("2.5Mparams", Budget(params=2_500_000)),
        ("900K params", Budget(params=900_000)),
        ("12ms", Budget(milliseconds=12.0)),
        ("300 MiB", Budget(mib=300.0)),
        ("1.5GiB", Budget(mib=1536.0)),
        ("6GMAC,12ms", Budget(gmacs=6.0, milliseconds=12.0)),
        ("2.5Mparams , 1GiB, .5 ms", Budget(params=2_500_000, mib=1024.0, milliseconds=0.5)),
    ],
)
def test_budgets_are_read_in_the_units_people_write_and_written_so_that_they_are_read(
    text: str, budget: Budget
) -> None:
    assert parse_budget(text) == budget
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize(
    "text",
    ["6", "GMAC", "-1GMAC", "0GMAC", "6GFLOPS", "inf GMAC", "1e3GMAC", "300MB", "12s", "", "6GMAC,", "6GMAC 12ms"],
)
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match="write it as 6GMAC"):
        parse_budget(text)


def test_two_amounts_of_a_kind_are_refused() -> None:
    with pytest.raises(UsageError, match="bounds gmacs twice"):
        parse_budget("6GMAC, 300MMAC")


def test_a_bound_that_is_not_there_is_never_exceeded() -> None:
    assert not Budget().exceeded(Spent(gmacs=1e9, params=10**12))
    assert Budget(gmacs=1.0).exceeded(Spent(gmacs=1.01, params=0))
    assert not Budget(gmacs=1.0).exceeded(Spent(gmacs=1.0, params=10**12))
    assert Budget(params=10).exceeded(Spent(gmacs=0, params=11))
    assert Budget(milliseconds=5).exceeded(Spent(gmacs=0, params=0, milliseconds=5.1))
    assert Budget(mib=5).exceeded(Spent(gmacs=0, params=0, mib=5.1))


def test_the_share_is_that_of_the_bound_that_is_nearest() -> None:
    budget = Budget(gmacs=2.0, milliseconds=10.0)
    assert budget.share(Spent(gmacs=1.0, params=1, milliseconds=9.5)) == 0.95
    assert budget.share(Spent(gmacs=1.0, params=1, milliseconds=4.0)) == 0.5
    assert Budget().share(Spent(gmacs=1.0, params=1)) == 0.0


@pytest.mark.parametrize(("gmacs", "inside"), [(0.89, False), (0.9, True), (1.0, True), (1.001, False)])
def test_the_band_is_from_nine_tenths_to_all_of_the_budget(gmacs: float, inside: bool) -> None:
    assert Budget(gmacs=1.0).in_band(Spent(gmacs=gmacs, params=0)) is inside


def test_a_bound_on_what_was_not_measured_is_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="milliseconds, which was not measured"):
        Budget(milliseconds=1.0).exceeded(Spent(gmacs=1.0, params=1))
