import msgspec
import pytest
from tests.search.conftest import PLAN, ROOT, Played, cost, make, run

from spnas.arch import Arch
from spnas.arch.space import why_not
from spnas.search.archive import Archive
from spnas.search.budget import Budget, Spent
from spnas.search.phases import reignite
from spnas.search.settings import SearchSettings

CHARGE = PLAN.ignition_charge
LONG = msgspec.structs.replace(PLAN, candidates=90)


def settings_of(stuck: int = 8, *, phases: tuple[str, ...] = ("serial", "reignite"), seed: int = 0) -> SearchSettings:
    """Make a search without rungs: a child is settled by one outcome."""
    made = make("plus", without=("rungs",), phases=phases)
    return msgspec.structs.replace(made, plan=msgspec.structs.replace(LONG, stuck=stuck), seed=seed)


def stuck_before(played: Played, settings: SearchSettings, number: int) -> int:
    """Count the children before candidate `number` that counted by then, since the hypervolume last grew."""
    counted = max(0, number - settings.lag)
    found, best = 0, Archive(settings.rules, settings.objective, cost)
    for candidate in played.candidates[:number]:
        best.see(candidate)
    for other in range(counted + 1):
        before = best.front.hypervolume
        candidate = played.candidates[other]
        best.learn(played.outcomes[other])
        if candidate.role == "root" or best.front.hypervolume > before:
            found = 0
        elif candidate.role == "child":
            found += 1
    return found


@pytest.mark.parametrize("stuck", [3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_happens_exactly_when_so_many_children_brought_no_growth_and_at_most_twice(stuck: int, seed: int) -> None:
    settings = settings_of(stuck, seed=seed)
    played = run(settings, noise=0.01)
    lit = [c.number for c in played.of_role("reignite")]
    assert 1 <= len(lit) <= reignite.MOST
    assert stuck_before(played, settings, lit[0]) == stuck
    for number in range(1, lit[0]):
        assert stuck_before(played, settings, number) < stuck
    for number in lit[1:]:
        assert stuck_before(played, settings, number) >= stuck


def test_a_search_that_is_not_stuck_is_left_alone() -> None:
    with_it, without = settings_of(1000), settings_of(1000, phases=("serial",))
    assert run(with_it).candidates == run(without).candidates
    assert not run(settings_of(3, phases=("serial",))).of_role("reignite")


def test_its_root_comes_from_its_outcome_and_is_a_root_like_the_first() -> None:
    played = run(settings_of(3))
    for lit in played.of_role("reignite"):
        (root,) = [c for c in played.of_role("root") if c.parent == lit.number]
        assert lit.parent is not None
        assert lit.arch == msgspec.structs.replace(played.candidates[lit.parent].arch, stem="conv")
        assert lit.steps == PLAN.ignite_steps
        assert (root.arch, root.steps, root.phase) == (lit.arch, PLAN.root_steps, "reignite")
        assert root.number - lit.number >= 4  # its outcome has to count first
    relit = {c.number for c in played.of_role("root")} - {0}
    later = [c for c in played.of_role("child") if c.parent in relit]
    assert later
    assert all(c.arch.stem == "conv" for c in later)


def test_it_starts_from_the_best_of_the_front_by_then() -> None:
    settings = settings_of(3)
    played = run(settings)
    first = played.of_role("reignite")[0]
    archive = Archive(settings.rules, settings.objective, cost)
    for candidate in played.candidates[: first.number]:
        archive.see(candidate)
    for number in range(first.number - settings.lag + 1):
        archive.learn(played.outcomes[number])
    assert first.parent == archive.front.points()[0].number


def test_no_second_one_begins_while_one_is_waiting_for_its_root() -> None:
    played = run(settings_of(3), workers=4)
    first, second = played.of_role("reignite")
    root = next(c for c in played.of_role("root") if c.parent == first.number)
    assert second.number > root.number


def test_what_it_costs_is_taken_from_the_children() -> None:
    played = run(settings_of(3))
    assert len(played.of_role("reignite")) == 2
    assert CHARGE == 12  # 20 steps of the classifier and 100 of the root, at 10 a child
    assert len(played.of_role("child")) == LONG.candidates - 2 * CHARGE


def test_it_does_not_begin_where_too_few_children_would_be_left() -> None:
    settings = settings_of(3)
    short = msgspec.structs.replace(settings, plan=msgspec.structs.replace(settings.plan, candidates=CHARGE))
    played = run(short)
    assert not played.of_role("reignite")
    assert len(played.of_role("child")) == CHARGE


def test_a_failed_one_stops_nothing_and_is_charged_all_the_same() -> None:
    settings = settings_of(3)
    lit = [c.number for c in run(settings).of_role("reignite")]
    played = run(settings, fails=lambda number: number == lit[0])
    assert len(played.of_role("reignite")) == 2
    assert not [c for c in played.candidates if c.parent == lit[0]]
    assert len(played.of_role("child")) == LONG.candidates - 2 * CHARGE


def test_a_failed_root_of_it_stops_nothing_either() -> None:
    settings = settings_of(3)
    root = run(settings).of_role("root")[1].number
    played = run(settings, fails=lambda number: number == root)
    assert root not in {c.parent for c in played.candidates}
    assert len(played.of_role("child")) == LONG.candidates - CHARGE * len(played.of_role("reignite"))


def test_where_the_new_stem_is_over_the_budget_the_old_one_stays() -> None:
    settings = settings_of(3)

    def dear(arch: Arch) -> Spent:
        """A stem of two convolutions costs more than there is."""
        spent = cost(arch)
        return msgspec.structs.replace(spent, gmacs=spent.gmacs + 100 * (arch.stem == "conv"))

    alone = msgspec.structs.replace(settings, phases=("reignite", "parallel"))
    fresh = Archive(settings.rules, settings.objective, dear)
    first = reignite.propose(0, fresh, alone, dear)
    assert first is not None
    assert first.arch == ROOT
    bounded = msgspec.structs.replace(alone, budget=Budget(gmacs=10 * cost(ROOT).gmacs))
    second = reignite.propose(0, fresh, bounded, cost)
    assert second is not None
    assert second.arch.stem == "conv"


def test_without_a_serial_phase_it_lights_the_root_that_the_parallel_phase_begins_with() -> None:
    played = run(settings_of(phases=("reignite", "parallel")))
    lit, root = played.candidates[:2]
    assert (lit.role, lit.parent, lit.arch.stem) == ("reignite", None, "conv")
    assert (root.role, root.parent, root.arch) == ("root", 0, lit.arch)
    assert played.of_role("child")
    space = msgspec.structs.replace(settings_of().space, stem="conv")
    assert all(why_not(c.arch, space) is None for c in played.of_role("child"))
    assert len(played.of_role("root")) == len(played.of_role("reignite")) == 1
