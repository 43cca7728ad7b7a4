"""What an archive makes of candidates and outcomes, told one by one."""

import statistics
from typing import Any

import pytest
from tests.search.conftest import ROOT, cost, make, outcome, run

from spnas.arch import Arch, Candidate, Outcome, parse
from spnas.arch.move import SERIAL, apply, neighbours
from spnas.rng import rng
from spnas.search.archive import MARGIN, MOST_PARENTS, Archive, newest_that_counts
from spnas.search.objective import Objective
from spnas.search.rules import Rules, rules_of

PLAIN = rules_of("plus", ("rungs", "noise"))
LARGER = parse("basic: 16x3 / 32x2 / 64x2 / 128x2")


class Told:
    """An archive, and candidates that are told to it with what came of them."""

    def __init__(self, rules: Rules = PLAIN, metric: str = "ap") -> None:
        self.metric = metric
        self.archive = Archive(rules, Objective(metric=metric, reference=2 * cost(ROOT).gmacs), cost)

    def see(self, role: Any, parent: int | None = None, arch: Arch = ROOT, **more: Any) -> int:
        number = len(self.archive.candidates)
        self.archive.see(Candidate(number=number, role=role, arch=arch, steps=9, seed=0, parent=parent, **more))
        return number

    def learn(self, number: int, value: float | None, early: float | None = None) -> None:
        if value is None:
            self.archive.learn(Outcome(number=number, failure="died"))
            return
        at_look = {} if early is None else {self.metric: early}
        self.archive.learn(Outcome(number=number, metrics={self.metric: value}, early=at_look))

    def tell(self, role: Any, value: float | None, parent: int | None = None, arch: Arch = ROOT, **more: Any) -> int:
        number = self.see(role, parent, arch, **more)
        self.learn(number, value)
        return number


def test_a_move_that_does_nothing_has_no_gain_however_much_further_training_brings() -> None:
    told = Told()
    told.tell("root", 0.3)
    told.tell("control", 0.4, 0)
    child = told.tell("child", 0.4, 0)
    assert told.archive.gains == {child: 0.0}
    assert told.archive.fitness == {0: 0.3, child: 0.3}


def test_fitness_is_the_roots_value_and_the_gains_down_the_line() -> None:
    told = Told()
    told.tell("root", 0.3)
    told.tell("control", 0.4, 0)
    first = told.tell("child", 0.45, 0, LARGER)
    told.tell("control", 0.55, first)
    second = told.tell("child", 0.52, first)
    assert told.archive.gains == pytest.approx({first: 0.05, second: -0.03})
    assert told.archive.fitness == pytest.approx({0: 0.3, first: 0.35, second: 0.32})


def test_several_controls_count_as_their_mean() -> None:
    told = Told()
    told.tell("root", 0.3)
    told.tell("control", 0.4, 0)
    told.tell("control", 0.5, 0)
    assert told.archive.gains == {}
    child = told.tell("child", 0.5, 0)
    assert told.archive.gains[child] == pytest.approx(0.05)


def test_where_less_is_better_a_fall_is_a_gain() -> None:
    told = Told(metric="lamr")
    told.tell("root", 0.7)
    told.tell("control", 0.6, 0)
    child = told.tell("child", 0.5, 0, LARGER)
    assert told.archive.gains[child] == pytest.approx(0.1)
    assert told.archive.front.points()[0].number == child


def test_without_its_control_a_child_has_no_fitness_until_it_comes() -> None:
    told = Told()
    told.tell("root", 0.3)
    told.tell("control", None, 0)
    child = told.tell("child", 0.9, 0)
    assert told.archive.fitness == {0: 0.3}
    assert told.archive.stuck == 0
    told.tell("control", 0.8, 0)
    assert told.archive.gains[child] == pytest.approx(0.1)
    assert told.archive.tries_at_control(0) == 2
    assert told.archive.controls(0) == [3]


def test_without_controls_fitness_is_what_was_measured() -> None:
    told = Told(rules_of("plus", ("controls",)))
    told.tell("root", 0.3)
    child = told.tell("child", 0.9, 0)
    assert told.archive.fitness == {0: 0.3, child: 0.9}
    assert told.archive.gains == {}


def test_what_failed_or_was_not_measured_has_no_fitness_and_is_no_parent() -> None:
    told = Told()
    told.tell("root", 0.3)
    told.tell("control", 0.3, 0)
    told.tell("child", None, 0, LARGER)
    unmeasured = told.see("child", 0)
    told.archive.learn(Outcome(number=unmeasured, metrics={"ap50": 0.9}))
    assert set(told.archive.fitness) == set(told.archive.pool) == {0}
    assert told.archive.failed(2)
    assert not told.archive.failed(0)


def test_a_failed_root_leaves_nothing() -> None:
    told = Told()
    told.tell("root", None)
    assert not told.archive.pool
    assert told.archive.roots() == [0]


def test_what_was_searched_is_known_and_what_is_judged_is_not() -> None:
    told = Told()
    told.see("root")
    told.see("control", 0)
    told.see("child", 0, LARGER)
    told.see("final", None, parse("basic: 16x4 / 32x4 / 64x4 / 128x4"), phase="final", finalist=0)
    told.see("rival", None, parse("basic: 24x4 / 48x4 / 96x4 / 192x4"), phase="final", finalist=0)
    assert told.archive.known == {ROOT.id, LARGER.id}


def test_finals_and_classifiers_teach_the_search_nothing() -> None:
    told = Told()
    told.tell("root", 0.3)
    told.tell("reignite", 0.9, 0, phase="reignite")
    told.tell("final", 0.9, phase="final", finalist=0)
    told.tell("rival", 0.9, phase="final", finalist=0)
    assert told.archive.fitness == {0: 0.3}
    assert told.archive.predictor.count == 1


def test_noise_is_the_spread_of_repeated_controls_and_no_more_than_that() -> None:
    told = Told(rules_of("plus", ("rungs",)))
    told.tell("root", 0.3)
    told.tell("control", 0.40, 0)
    assert told.archive.noise is None
    told.tell("control", 0.44, 0)
    told.tell("control", 0.42, 0)
    assert told.archive.noise == pytest.approx(statistics.stdev([0.40, 0.44, 0.42]))
    child = told.tell("child", 0.5, 0, LARGER)
    told.tell("control", 0.9, child)
    assert told.archive.noise == pytest.approx(0.02)


def test_children_worse_than_the_front_by_no_more_than_the_noise_may_be_parents() -> None:
    def played(rules: Rules, value: float) -> bool:
        told = Told(rules)
        told.tell("root", 0.3)
        for control in (0.40, 0.44, 0.42):
            told.tell("control", control, 0)
        return told.tell("child", value, 0, LARGER) in told.archive.pool

    margin = MARGIN * 0.02
    assert played(rules_of("plus", ("rungs",)), 0.42 - 0.99 * margin)
    assert not played(rules_of("plus", ("rungs",)), 0.42 - 1.01 * margin)
    assert not played(PLAIN, 0.42 - 0.01)


def test_whoever_is_beaten_by_more_than_the_noise_leaves_the_pool() -> None:
    told = Told()
    told.tell("root", 0.3)
    told.tell("control", 0.3, 0)
    worse = told.tell("child", 0.4, 0, LARGER)
    assert set(told.archive.pool) == {0, worse}
    same_cost = parse("basic: 16x2 / 32x2 / 64x2 / 128x2 + 0-0-0-0")
    better = told.tell("child", 0.5, 0, same_cost)
    assert set(told.archive.pool) == {better}


def test_the_pool_is_bounded_and_keeps_who_is_least_beaten() -> None:
    told = Told(rules_of("plus", ("rungs",)))
    told.tell("root", 0.5)
    for control in (0.1, 0.5, 0.9):
        told.tell("control", control, 0)
    draw, arch = rng(0, "test"), ROOT
    for _ in range(150):
        moves = list(neighbours(arch, kinds=SERIAL))
        arch = apply(arch, moves[int(draw.integers(len(moves)))]) if arch.block_count < 40 else ROOT
        told.tell("child", 0.5 + 0.1 * float(draw.uniform()), 0, arch)
    archive = told.archive
    behind = {n: archive.front.beats(archive.price(archive.candidates[n].arch)) - f for n, f in archive.fitness.items()}
    assert len(archive.fitness) > len(archive.pool) == MOST_PARENTS
    assert {p.number for p in archive.front.points()} <= set(archive.pool)
    assert max(behind[n] for n in archive.pool) <= min(behind[n] for n in behind if n not in archive.pool) + 1e-12


def test_stuck_counts_children_since_the_hypervolume_grew() -> None:
    told = Told(PLAIN)
    told.tell("root", 0.3)
    told.tell("control", 0.3, 0)
    stuck = [0]
    for value in (0.2, None, 0.1, 0.4, 0.1):
        told.tell("child", value, 0, LARGER)
        stuck.append(told.archive.stuck)
    assert stuck == [0, 1, 2, 3, 0, 1]
    told.tell("root", 0.1, phase="reignite")
    assert told.archive.stuck == 0


def test_a_stopped_child_is_promising_unless_it_is_behind_its_control_by_more_than_the_noise() -> None:
    told = Told(rules_of("plus", ("noise",)))
    told.tell("root", 0.3)
    good, bad = told.see("child", 0, LARGER, until=3), told.see("child", 0, until=3)
    told.learn(good, 0.25)
    told.learn(bad, 0.19)
    assert not told.archive.promising  # nothing to compare with yet
    control = told.see("control", 0, look=3)
    told.learn(control, 0.4, early=0.2)
    assert told.archive.promising == pytest.approx({good: 0.05})
    assert told.archive.stuck == 1
    assert set(told.archive.fitness) == {0}
    rung = told.see("rung", 0, LARGER, continues=good)
    assert not told.archive.promising
    told.learn(rung, 0.5)
    assert told.archive.fitness[rung] == pytest.approx(0.4)  # against the whole control
    assert told.archive.stuck == 0


@pytest.mark.parametrize(("behind", "promising"), [(0.99, True), (1.01, False)])
def test_a_stopped_child_may_be_behind_by_as_much_as_the_noise(behind: float, promising: bool) -> None:
    told = Told(rules_of("plus"))
    told.tell("root", 0.3)
    for value in (0.40, 0.44, 0.42):
        told.learn(told.see("control", 0, look=3), value, early=0.2)
    child = told.tell("child", 0.2 - behind * MARGIN * 0.02, 0, LARGER, until=3)
    assert (child in told.archive.promising) is promising


def test_the_front_of_serial_nets_has_none_with_copies() -> None:
    told = Told()
    told.tell("root", 0.3)
    told.tell("control", 0.3, 0)
    told.tell("child", 0.9, 0, parse("basic: 16x2 / 32x2 / 64x2 / 128x2 + 1-0-0-0"))
    assert [p.number for p in told.archive.serial.points()] == [0]
    assert [p.number for p in told.archive.front.points()] == [2, 0]


def test_costs_are_those_that_the_objective_names() -> None:
    archive = Archive(PLAIN, Objective(against="params", reference=1e4), cost)
    assert archive.price(ROOT) == cost(ROOT).params


@pytest.mark.parametrize("part", [(), ("rungs",)], ids=["rungs", "no rungs"])
def test_without_noise_fitness_is_quality_however_long_a_line_was_trained(part: tuple[str, ...]) -> None:
    played = run(make("plus", without=part))
    assert len(played.archive.fitness) > 5
    for number, value in played.archive.fitness.items():
        candidate = played.candidates[number]
        assert value == pytest.approx(outcome(candidate, None).metrics["ap"])


def test_an_outcome_counts_from_so_many_candidates_on_and_the_roots_always() -> None:
    assert [newest_that_counts(n, 4) for n in range(8)] == [0, 0, 0, 0, 0, 1, 2, 3]
    assert [newest_that_counts(n, 1) for n in range(4)] == [0, 0, 1, 2]
