"""Which parent is tried first, and which of several drawn children is taken."""

from collections import Counter

import msgspec
import numpy as np
import pytest
from tests.search.conftest import ROOT, cost, make

from spnas.arch import Arch, Candidate, parse
from spnas.rng import rng
from spnas.search.archive import Archive
from spnas.search.children import AGE_LIMIT, ENOUGH_TO_PREDICT, MUTANTS, _best_drawn, _order, next_child
from spnas.search.front import Point
from spnas.search.predictor import features
from spnas.search.settings import SearchSettings

CROWD = {n: Point(n, 0.3, 1.0 + n / 1000) for n in range(9)} | {9: Point(9, 0.5, 2.0)}
DEPTHS = [parse(f"basic: 16x{n} / 32x2 / 64x2 / 128x2") for n in range(1, 1 + ENOUGH_TO_PREDICT)]


def first_drawn(settings: SearchSettings) -> Counter[int]:
    return Counter(_order(10, CROWD, settings, rng(seed, "test"))[0] for seed in range(1000))


def test_where_the_front_is_thin_a_parent_is_drawn_as_often_as_a_whole_crowd() -> None:
    assert abs(first_drawn(make("plus"))[9] - 500) < 65
    alike = first_drawn(make("plus", without=("density",)))
    assert all(abs(alike[n] - 100) < 40 for n in CROWD)


@pytest.mark.parametrize("without", [(), ("density",)])
def test_every_parent_is_tried_once(without: tuple[str, ...]) -> None:
    assert sorted(_order(10, CROWD, make("plus", without=without), rng(0, "test"))) == sorted(CROWD)


def test_parents_beyond_the_age_limit_are_for_when_there_are_no_others() -> None:
    settings, chance = make("plus"), rng(0, "test")
    assert set(_order(AGE_LIMIT + 5, CROWD, settings, chance)) == {5, 6, 7, 8, 9}
    assert set(_order(AGE_LIMIT + 50, CROWD, settings, chance)) == set(CROWD)
    ageless = make("plus", without=("age",))
    assert set(_order(AGE_LIMIT + 5, CROWD, ageless, chance)) == set(CROWD)


def taught(settings: SearchSettings, nets: list[Arch]) -> Archive:
    """Return an archive whose predictor has learned that shallow nets are better."""
    archive = Archive(settings.rules, settings.objective, cost)
    for arch in nets:
        share = archive.price(arch) / settings.objective.reference
        archive.predictor.learn(features(arch, share), -float(arch.block_count))
    return archive


def taken(settings: SearchSettings, nets: list[Arch]) -> tuple[Arch | None, int]:
    """Return which of the nets that are drawn, deep ones first, is taken, and how many were drawn."""
    drawn = iter(sorted(DEPTHS, key=lambda arch: -arch.block_count))
    asked = list[int]()

    def draw(parent: int, _chance: np.random.Generator) -> tuple[Arch, tuple[()]]:
        asked.append(parent)
        return next(drawn), ()

    found = _best_drawn(0, taught(settings, nets), settings, draw, rng(0, "test"))
    return (found[0] if found else None), len(asked)


def test_the_best_predicted_of_several_is_taken_once_enough_was_learned() -> None:
    deepest_first = sorted(DEPTHS, key=lambda arch: -arch.block_count)
    assert taken(make("plus"), DEPTHS) == (deepest_first[MUTANTS - 1], MUTANTS)
    assert taken(make("plus"), DEPTHS[:-1]) == (deepest_first[0], 1)
    assert taken(make("plus", without=("predictor",)), DEPTHS) == (deepest_first[0], 1)


def test_of_several_promising_children_the_most_promising_is_gone_on_with_and_of_equal_ones_the_first() -> None:
    settings = make("plus")
    archive = Archive(settings.rules, settings.objective, cost)
    archive.see(Candidate(number=0, role="root", arch=DEPTHS[4], steps=9, seed=0))
    for number in range(1, 5):
        archive.see(Candidate(number=number, role="child", arch=DEPTHS[number - 1], steps=9, seed=0, parent=0, until=3))
    archive.promising = {1: 0.01, 2: 0.03, 3: 0.03, 4: -0.01}
    found = next_child(5, archive, settings, phase="serial", parents={}, draw=lambda _p, _c: None)
    assert found is not None
    assert (found.role, found.continues, found.arch, found.until) == ("rung", 2, DEPTHS[1], None)


def test_where_nothing_can_be_drawn_nothing_is_taken() -> None:
    settings = msgspec.structs.replace(make("plus"), root=ROOT)
    assert _best_drawn(0, taught(settings, DEPTHS), settings, lambda _p, _c: None, rng(0, "test")) is None
