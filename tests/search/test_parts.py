"""What leaving out a part of the preset `plus` changes, and that it changes nothing else."""

import msgspec
import pytest
from tests.search.conftest import PLAN, Played, cost, make, run

from spnas.search.children import ENOUGH_TO_PREDICT
from spnas.search.finalists import choose
from spnas.search.rules import PARTS
from spnas.search.settings import NOISE_CONTROLS, SearchSettings

LONG = msgspec.structs.replace(PLAN, candidates=80)


def settings_of(*without: str, phases: tuple[str, ...] = ("serial",)) -> SearchSettings:
    return msgspec.structs.replace(make("plus", without=without, phases=phases), plan=LONG)


def play(*without: str, noise: float = 0.02) -> Played:
    return run(settings_of(*without), noise=noise)


def in_band(played: Played) -> float:
    settings, made = settings_of(), played.of_role("child")
    return sum(settings.budget.in_band(cost(c.arch)) for c in made) / len(made)


def has(played: Played) -> dict[str, bool]:
    """Say of which parts there are traces that a look at the candidates shows."""
    controls = [c for c in played.of_role("control") if c.parent == 0]
    return {
        "controls": bool(controls),
        "rungs": bool(played.of_role("rung")) and any(c.until for c in played.candidates),
        "noise": len(controls) == NOISE_CONTROLS,
        "repair": in_band(played) > 0.6,
    }


@pytest.mark.parametrize("part", [part for part in PARTS if part != "twin"])
def test_every_part_changes_the_search(part: str) -> None:
    assert play(part).candidates != play().candidates


@pytest.mark.parametrize("part", ["density", "age", "predictor", "twin"])
def test_parts_that_choose_among_candidates_leave_the_traces_of_all_others(part: str) -> None:
    assert all(has(play()).values())
    assert has(play(part)) == has(play())


@pytest.mark.parametrize("part", ["rungs", "noise", "repair"])
def test_a_part_that_is_left_out_leaves_no_trace_and_the_others_theirs(part: str) -> None:
    assert has(play(part)) == {**has(play()), part: False}


def test_without_controls_there_are_no_rungs_either_since_nothing_says_what_is_promising() -> None:
    assert has(play("controls")) == {"controls": False, "rungs": False, "noise": False, "repair": True}


def test_the_predictor_has_no_say_before_it_has_learned_enough() -> None:
    """Up to then the search is the one without it."""
    using, without = play(), play("predictor")
    pairs = zip(using.candidates, without.candidates, strict=False)
    parted = next(number for number, (a, b) in enumerate(pairs) if a != b)
    learned = sum(n < parted for n in using.archive.fitness)
    assert ENOUGH_TO_PREDICT <= learned <= ENOUGH_TO_PREDICT + 10


def test_the_twin_changes_who_is_judged_and_not_the_search() -> None:
    phases = ("serial", "parallel")
    using, without = settings_of(phases=phases), settings_of("twin", phases=phases)
    played = run(using)
    assert run(without).candidates == played.candidates
    assert "depth" in [net.label for net in choose(played.archive, using, cost)]
    assert [net.label for net in choose(played.archive, without, cost)] == ["found"]
