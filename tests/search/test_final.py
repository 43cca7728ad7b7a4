import msgspec
from tests.search.conftest import ROOT, cost, run

from spnas.arch import Arch, Candidate, Outcome, parse
from spnas.search.budget import Budget, Spent
from spnas.search.front import front, points, price_of
from spnas.search.history import History
from spnas.search.phases import final
from spnas.search.settings import SearchSettings

RIVAL = parse("basic: 18x2 / 36x2 / 72x2 / 144x2")


def test_finalists_are_children_of_the_front_best_first(settings: SearchSettings) -> None:
    history = run(settings)
    chosen = final.finalists(history, settings)
    assert len(chosen) == 1
    assert history.candidates[chosen[0]].role == "child"


def test_where_no_child_beat_the_root_the_best_child_is_judged_all_the_same(settings: SearchSettings) -> None:
    child = Candidate(number=2, role="child", arch=RIVAL, steps=9, seed=0, parent=0)
    control = Candidate(number=1, role="control", arch=ROOT, steps=9, seed=0, parent=0)
    root = Candidate(number=0, role="root", arch=ROOT, steps=9, seed=0)
    aps = {0: 0.5, 1: 0.5, 2: 0.1}
    outcomes = {n: Outcome(number=n, metrics={"ap": ap}, gmacs=1.0 + n) for n, ap in aps.items()}
    assert final.finalists(History((root, control, child), outcomes), settings) == [2]
    assert final.finalists(History((root,), outcomes), settings) == [0]


def test_finalist_and_rival_are_trained_alike_over_the_same_seeds(settings: SearchSettings) -> None:
    history = run(settings)
    chosen = final.finalists(history, settings)
    candidates = list(history.candidates)
    while True:
        now = History(tuple(candidates), history.outcomes)
        proposed = final.propose(len(candidates), now, settings, chosen=chosen, rival=RIVAL)
        if proposed is None:
            break
        candidates.append(proposed)
    finals = candidates[len(history.candidates) :]
    assert [c.role for c in finals] == ["final", "rival"] * settings.plan.seeds
    assert [c.seed for c in finals] == [1, 1, 2, 2, 3, 3]
    assert {c.steps for c in finals} == {settings.plan.final_steps}
    assert all(c.parent is None and c.finalist == chosen[0] for c in finals)
    assert {c.arch for c in finals if c.role == "rival"} == {RIVAL}


def test_a_finalist_that_is_over_the_budget_after_all_is_passed_over_for_the_next(settings: SearchSettings) -> None:
    history = run(settings)
    best = final.finalists(history, settings)[0]
    asked: list[Arch] = []

    def fits(arch: Arch) -> bool:
        asked.append(arch)
        return arch != history.candidates[best].arch

    chosen = final.finalists(history, settings, fits=fits)
    assert chosen != [best]
    assert history.candidates[chosen[0]].role == "child"
    assert len(asked) == 2  # no more are timed than need be
    assert final.finalists(history, settings, fits=lambda _: False) == [0]


def test_with_a_budget_in_milliseconds_the_front_is_drawn_against_them(settings: SearchSettings) -> None:
    """Here deep nets are slow whatever their GMACs."""
    history = run(settings)
    budget = Budget(milliseconds=100.0)

    def timed(arch: Arch) -> Spent:
        return msgspec.structs.replace(cost(arch), milliseconds=float(arch.block_count))

    price = price_of(budget, timed)
    assert price is not None
    drawn = front(points(history, price))
    assert [p.cost * 100 for p in drawn] == [history.candidates[p.number].arch.block_count for p in drawn]
    assert price_of(settings.budget, timed) is None
