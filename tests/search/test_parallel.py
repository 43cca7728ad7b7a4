import itertools
from collections import Counter

import msgspec
import pytest
from tests.search import conftest
from tests.search.conftest import PLAN, ROOT, cost, make, run

from spnas.arch import Candidate, Move, parse
from spnas.arch.move import PARALLEL, SHRINKING, apply
from spnas.arch.space import around, why_not
from spnas.rng import rng
from spnas.search.budget import Budget
from spnas.search.finalists import choose
from spnas.search.phases import parallel
from spnas.search.settings import SearchSettings

QUALITY = conftest.quality
BOTH = ("serial", "parallel")


def with_copies(settings: SearchSettings) -> list[Candidate]:
    return [c for c in run(settings).of_role("child") if c.phase == "parallel"]


@pytest.mark.parametrize("preset", ["plus", "paper"])
def test_its_children_have_copies_are_new_within_the_budget_and_as_many_as_planned(preset: str) -> None:
    settings = make(preset, phases=BOTH)
    made = with_copies(settings)
    assert len(made) == PLAN.copies
    assert len({c.arch.id for c in made}) == len(made)
    for c in made:
        assert c.arch.copies
        assert why_not(c.arch, settings.space) is None
        assert not settings.budget.exceeded(cost(c.arch))


def test_where_repaired_one_copy_comes_or_goes_and_blocks_make_room_for_it() -> None:
    moves = [c.moves for c in with_copies(make("plus", phases=BOTH))]
    copies = [list(itertools.takewhile(lambda move: move.kind in PARALLEL, m)) for m in moves]
    assert all(copies)
    assert sum(len(few) == 1 for few in copies) > len(copies) / 2  # several where all nets with one more were tried
    assert all(move.kind in SHRINKING for m, few in zip(moves, copies, strict=True) for move in m[len(few) :])
    assert any(len(m) > 1 for m in moves)


def test_in_the_paper_one_to_three_copies_come_and_nothing_else() -> None:
    moves = [c.moves for c in with_copies(make("paper", phases=BOTH))]
    assert {move.kind for m in moves for move in m} == {"add-copy"}
    assert {len(m) for m in moves} <= {1, 2, 3}
    assert len({len(m) for m in moves}) > 1


def test_copies_are_added_less_often_the_more_they_cost() -> None:
    draw = rng(0, "test")
    drawn = Counter(parallel._draw_copy(ROOT, draw, cost, removing=False).at for _ in range(3000))
    added = [cost(apply(ROOT, Move("add-copy", at))).gmacs - cost(ROOT).gmacs for at in range(4)]
    expected = [3000 / a / sum(1 / b for b in added) for a in added]
    for at, times in enumerate(expected):
        assert abs(drawn[at] - times) < 4 * times**0.5 + 1


def test_a_copy_is_taken_away_now_and_then_where_there_is_one() -> None:
    copied = apply(ROOT, Move("add-copy", 1))
    draw = rng(0, "test")
    taken = Counter(parallel._draw_copy(copied, draw, cost, removing=True).kind for _ in range(2000))
    assert abs(taken["remove-copy"] / 2000 - parallel.REMOVING) < 0.04
    never = Counter(parallel._draw_copy(copied, draw, cost, removing=False).kind for _ in range(200))
    assert never == {"add-copy": 200}


def test_copies_begin_with_the_best_serial_net() -> None:
    settings = make("plus", phases=BOTH)
    played = run(settings)
    first = next(c for c in played.of_role("child") if c.phase == "parallel")
    serial = run(make("plus", phases=("serial",)))
    assert first.parent == serial.archive.serial.points()[0].number


def test_without_a_serial_phase_it_begins_with_the_root() -> None:
    played = run(make("plus", phases=("parallel",)))
    assert (played.candidates[0].role, played.candidates[0].phase) == ("root", "parallel")
    assert len(played.of_role("child")) == PLAN.copies


def test_where_no_net_with_copies_fits_the_phase_ends() -> None:
    settings = make("paper", phases=("parallel",))
    tight = msgspec.structs.replace(settings, budget=Budget(gmacs=cost(ROOT).gmacs))
    assert [c.role for c in run(tight).candidates] == ["root"]


def test_without_copies_in_the_plan_nothing_but_a_root_is_tried() -> None:
    settings = make("plus", phases=("parallel",))
    none = msgspec.structs.replace(settings, plan=msgspec.structs.replace(PLAN, copies=0))
    assert [c.role for c in run(none).candidates] == ["root"]


def test_copies_are_tried_on_serial_nets_though_nets_with_copies_are_fitter() -> None:
    settings = make("paper", phases=BOTH)
    archive = run(settings).archive
    assert archive.candidates[archive.front.points()[0].number].arch.copies
    bases = parallel._parents(archive, settings)
    assert [list(base) for base in bases] == [[p.number] for p in archive.serial.points()[: parallel.BASES]]
    assert all(not archive.candidates[n].arch.copies for base in bases for n in base)


def test_where_all_copies_were_stopped_early_the_best_is_gone_on_with_so_that_it_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Copies that harm: none is promising, and still one of them ends with a fitness."""
    monkeypatch.setattr(conftest, "quality", lambda arch: QUALITY(arch) - 0.1 * sum(arch.copies))
    settings = make("plus", phases=BOTH)
    played = run(settings)
    stopped = [c for c in played.candidates if c.role == "child" and c.arch.copies]
    went_on = [c for c in played.candidates if c.role == "rung" and c.arch.copies]
    assert len(stopped) == settings.plan.copies
    assert len(went_on) == 1
    assert went_on[0].number in played.archive.fitness


def test_where_every_copy_that_may_be_is_there_one_is_taken_away() -> None:
    """Or, in the paper, which takes none away, the phase ends."""
    full = parse("basic: 16x2 / 32x2 / 64x2 / 128x2 + 8-8-8-8")
    for preset, kinds in (("plus", {"remove-copy"}), ("paper", set[str]())):
        settings = make(preset, phases=("parallel",))
        wide = msgspec.structs.replace(settings, root=full, space=around(full), budget=Budget(gmacs=100.0))
        played = run(wide)
        assert {c.moves[0].kind for c in played.of_role("child") if c.parent == 0} == kinds


def test_the_best_is_gone_on_with_once_all_have_been_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every move harms, in both phases and whatever the order of the outcomes."""
    monkeypatch.setattr(conftest, "quality", lambda arch: QUALITY(arch) if arch == ROOT else 0.1 * QUALITY(arch))
    settings = make("plus", phases=BOTH)
    played = run(settings)
    assert run(settings, workers=4, finish=max).candidates == played.candidates
    for phase in BOTH:
        rungs = [c for c in played.of_role("rung") if c.phase == phase]
        children = [c for c in played.of_role("child") if c.phase == phase]
        assert len(rungs) == 1
        assert rungs[0].number > max(c.number for c in children)
    assert choose(played.archive, settings, cost)[0].candidate != 0
