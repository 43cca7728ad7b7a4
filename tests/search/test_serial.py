import time
from random import Random

import msgspec
import pytest
from tests.search.conftest import cost, quality, run

from spnas.arch.move import apply_all
from spnas.arch.space import why_not
from spnas.search.front import fitness
from spnas.search.history import History
from spnas.search.settings import SearchSettings


def test_a_search_tries_as_many_children_as_planned_and_controls_every_parent(settings: SearchSettings) -> None:
    history = run(settings)
    children = [c for c in history.candidates if c.role == "child"]
    assert len(children) == settings.plan.candidates
    controlled = {c.parent for c in history.candidates if c.role == "control"}
    assert {c.parent for c in children} <= controlled
    assert len(controlled) == sum(c.role == "control" for c in history.candidates)


def test_every_child_is_new_inside_the_space_within_the_budget_and_what_its_moves_say(
    settings: SearchSettings,
) -> None:
    history = run(settings)
    searched = [c for c in history.candidates if c.role != "control"]
    assert len({c.arch.id for c in searched}) == len(searched)
    for c in searched[1:]:
        assert c.parent is not None
        assert apply_all(history.candidates[c.parent].arch, c.moves) == c.arch
        assert why_not(c.arch, settings.space) is None
        assert not settings.budget.exceeded(cost(c.arch))


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("order", ["first", "last", "random"])
def test_neither_the_number_of_workers_nor_their_speed_changes_the_search(
    settings: SearchSettings, workers: int, order: str
) -> None:
    chance = Random(workers)
    finish = {"first": min, "last": max, "random": chance.choice}[order]
    assert run(settings, workers=workers, finish=finish).candidates == run(settings).candidates


def test_another_seed_is_another_search(settings: SearchSettings) -> None:
    assert run(msgspec.structs.replace(settings, seed=1)).candidates != run(settings).candidates


def test_failed_trainings_are_never_parents_and_stop_nothing(settings: SearchSettings) -> None:
    history = run(settings, failing=3)
    failed = {n for n, o in history.outcomes.items() if o.failure}
    assert failed
    assert not failed & {c.parent for c in history.candidates if c.role == "child"}
    assert sum(c.role == "child" for c in history.candidates) == settings.plan.candidates


def test_a_search_goes_on_from_any_point_as_if_nothing_had_happened(settings: SearchSettings) -> None:
    from spnas.search.phases import serial

    whole = run(settings)
    for number in (1, 5, 17):
        early = History(whole.candidates[:number], whole.outcomes)
        assert serial.propose(number, early, settings, cost) == whole.candidates[number]


def test_children_come_to_be_better_than_the_root_where_the_landscape_has_a_slope(settings: SearchSettings) -> None:
    history = run(settings)
    value = fitness(history)
    best = max(value, key=lambda n: value[n])
    assert quality(history.candidates[best].arch) > quality(settings.root) + 0.02


def test_fitness_is_the_quality_of_a_net_not_how_long_its_line_was_trained(settings: SearchSettings) -> None:
    history = run(settings)
    for number, value in fitness(history).items():
        assert value == pytest.approx(quality(history.candidates[number].arch))


def test_hundreds_of_proposals_take_a_second_at_most(settings: SearchSettings) -> None:
    began = time.perf_counter()
    run(settings)
    assert time.perf_counter() - began < 1.0


def test_a_space_that_is_used_up_ends_the_phase(settings: SearchSettings) -> None:
    tight = msgspec.structs.replace(
        settings, budget=msgspec.structs.replace(settings.budget, gmacs=cost(settings.root).gmacs)
    )
    history = run(tight)
    assert 0 < sum(c.role == "child" for c in history.candidates) <= settings.plan.candidates


def test_a_failed_control_is_tried_again_and_given_up_in_the_end(settings: SearchSettings) -> None:
    history = run(settings, failing=1)  # nothing but the root succeeds
    assert [c.parent for c in history.candidates if c.role == "control"] == [0, 0, 0]
    once = run(settings, fails=lambda number: number == 1)
    assert sum(c.role == "child" for c in once.candidates) == settings.plan.candidates
    assert len(fitness(once)) > 1
