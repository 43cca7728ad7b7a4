"""Searches played to their end on the made-up landscape."""

from collections import Counter
from random import Random

import msgspec
import pytest
from tests.search.conftest import PLAN, ROOT, Finish, Played, cost, make, plain, quality, run

from spnas.arch.move import apply_all
from spnas.arch.space import why_not
from spnas.search.children import AGE_LIMIT, CONTROL_TRIES
from spnas.search.objective import Objective
from spnas.search.rules import PRESETS
from spnas.search.settings import NOISE_CONTROLS, SearchSettings

ALL = ("serial", "reignite", "parallel")


def children(played: Played) -> list[int]:
    return [c.number for c in played.of_role("child")]


@pytest.mark.parametrize("phases", [("serial",), ALL], ids="+".join)
@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize(("workers", "order"), [(2, "last"), (5, "random"), (50, "first")])
def test_neither_workers_nor_their_speed_change_the_search(
    preset: str, phases: tuple[str, ...], workers: int, order: str
) -> None:
    settings = make(preset, phases=phases)
    orders: dict[str, Finish] = {"first": min, "last": max, "random": Random(workers).choice}
    alone = run(settings, failing=6, noise=0.03)
    many = run(settings, failing=6, noise=0.03, workers=workers, finish=orders[order])
    assert many.candidates == alone.candidates
    assert many.archive.fitness == alone.archive.fitness
    assert many.archive.front.points() == alone.archive.front.points()
    assert many.archive.pool == alone.archive.pool
    assert len(alone.candidates) > 30


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_another_seed_is_another_search(preset: str) -> None:
    settings = make(preset)
    assert run(msgspec.structs.replace(settings, seed=1)).candidates != run(settings).candidates


def test_another_lag_is_another_search(settings: SearchSettings) -> None:
    assert run(msgspec.structs.replace(settings, lag=12)).candidates != run(settings).candidates


@pytest.mark.parametrize("preset", ["plus", "paper"])
def test_every_child_is_new_inside_the_space_within_the_budget_and_what_its_moves_say(preset: str) -> None:
    settings = make(preset, phases=ALL)
    played = run(settings, noise=0.03)
    made = [c for c in played.candidates if c.role == "child"]
    assert len({c.arch.id for c in made} | {ROOT.id}) == len(made) + 1
    for c in made:
        assert c.parent is not None
        parent = played.candidates[c.parent].arch
        assert apply_all(parent, c.moves) == c.arch
        assert why_not(c.arch, msgspec.structs.replace(settings.space, stem=parent.stem)) is None
        assert not settings.budget.exceeded(cost(c.arch))


@pytest.mark.parametrize("preset", ["plus", "paper", "vega-v1"])
def test_as_many_children_as_planned_whether_trainings_fail_or_not(preset: str) -> None:
    assert len(children(run(make(preset)))) == PLAN.candidates
    assert len(children(run(make(preset), failing=3))) == PLAN.candidates


def test_failed_trainings_are_never_parents() -> None:
    for preset in PRESETS:
        played = run(make(preset), failing=3)
        failed = {n for n, o in played.outcomes.items() if o.failure}
        assert failed
        assert not failed & {c.parent for c in played.candidates}


def generations(played: Played) -> dict[int, int]:
    """Return how many steps of descent every net is away from the root."""
    found: dict[int, int] = {}
    for c in played.candidates:
        found[c.number] = 0 if c.parent is None else found[c.parent] + (c.role != "control")
    return found


def test_the_root_is_controlled_thrice_and_every_later_generation_once_before_it_has_children(
    settings: SearchSettings,
) -> None:
    played = run(settings)
    after = generations(played)
    controls = Counter(after[c.number] for c in played.of_role("control"))
    assert controls[0] == NOISE_CONTROLS
    assert set(controls.values()) == {1, NOISE_CONTROLS}
    for child in played.of_role("child"):
        earlier = [c for c in played.of_role("control") if c.number < child.number]
        assert after[child.number] - 1 in {after[c.number] for c in earlier}
    assert len({c.seed for c in played.of_role("control") if c.parent == 0}) == NOISE_CONTROLS


def test_a_failed_control_is_tried_again_and_given_up_in_the_end(settings: SearchSettings) -> None:
    played = run(settings, failing=1)  # nothing but the root succeeds
    assert [c.parent for c in played.of_role("control")] == [0] * CONTROL_TRIES
    assert len(children(played)) < settings.lag  # those that were begun before it was known
    assert set(played.archive.fitness) == {0}
    once = run(plain(), fails=lambda number: number == 1)
    assert len(children(once)) == PLAN.candidates
    assert len(once.archive.fitness) > 5


def test_promising_children_and_only_they_are_gone_on_with_at_once(settings: SearchSettings) -> None:
    played = run(settings)
    rungs = played.of_role("rung")
    gone_on = [c.continues for c in rungs]
    assert 0 < len(rungs) < PLAN.candidates
    assert len(set(gone_on)) == len(gone_on)
    for rung in rungs:
        assert rung.continues is not None
        stopped = played.candidates[rung.continues]
        assert (rung.arch, rung.parent, rung.moves) == (stopped.arch, stopped.parent, stopped.moves)
        assert (stopped.until, rung.until, rung.steps) == (PLAN.rung_steps, None, PLAN.child_steps)
        assert quality(rung.arch) >= quality(played.candidates[rung.parent or 0].arch) - 1e-9
    assert all(c.look == PLAN.rung_steps for c in played.of_role("control"))
    assert {c.number for c in rungs} <= set(played.archive.fitness)
    assert not set(children(played)) & set(played.archive.fitness)


def test_parents_are_no_older_than_the_limit_while_there_are_younger_ones() -> None:
    plan = msgspec.structs.replace(PLAN, candidates=90)
    oldest = []
    for without in (("rungs",), ("rungs", "age")):
        played = run(msgspec.structs.replace(make("plus", without=without), plan=plan), noise=0.02)
        oldest.append(max(c.number - c.parent for c in played.of_role("child") if c.parent is not None))
    assert oldest[0] <= AGE_LIMIT < oldest[1]


def test_children_come_to_be_better_than_the_root_where_the_landscape_has_a_slope() -> None:
    for preset in PRESETS:
        played = run(make(preset))
        best = max(played.archive.fitness, key=lambda n: played.archive.fitness[n])
        assert quality(played.candidates[best].arch) > quality(ROOT) + 0.01


def test_a_space_that_is_used_up_ends_the_phase(settings: SearchSettings) -> None:
    tight = msgspec.structs.replace(
        settings, budget=msgspec.structs.replace(settings.budget, gmacs=cost(settings.root).gmacs)
    )
    none_left = msgspec.structs.replace(
        tight, space=msgspec.structs.replace(tight.space, min_blocks=8, max_blocks=8, max_stages=4, doublings=0)
    )
    assert 0 < len(children(run(tight))) <= PLAN.candidates
    assert children(run(none_left)) == []


@pytest.mark.parametrize("metric", ["lamr", "loss"])
def test_a_search_for_less_of_a_metric_is_the_search_for_more_of_what_it_lacks(metric: str) -> None:
    """The landscape tells the metric as its worst value less the AP, so that both searches see the same gains."""
    more = make("plus", phases=("serial", "parallel"))
    less = msgspec.structs.replace(more, objective=Objective(metric=metric, reference=more.objective.reference))
    ups, downs = run(more, noise=0.02), run(less, noise=0.02)
    assert [c.arch for c in downs.candidates] == [c.arch for c in ups.candidates]
    assert downs.archive.fitness == pytest.approx(ups.archive.fitness)
    best = downs.archive.front.points()[0].number
    root = downs.outcomes[0].metrics[metric]
    assert downs.outcomes[best].metrics[metric] < root
