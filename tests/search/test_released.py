"""The rule of the authors' release: what it is, faults included."""

from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from tests.search.conftest import PLAN, ROOT, cost, make, run

from spnas.arch import Candidate, Outcome, parse
from spnas.arch.arch import HARD_LIMIT_BLOCKS, HARD_LIMIT_STAGES
from spnas.arch.move import apply_all
from spnas.search import released
from spnas.search.archive import Archive

SETTINGS = make("vega-v1")
MANY = 600


def archive_of(aps: list[float], root: str = ROOT.text) -> Archive:
    """Return what holds nets of rising size and these APs."""
    archive = Archive(SETTINGS.rules, SETTINGS.objective, cost)
    for number, ap in enumerate(aps):
        block, chain = root.split(": ")
        first, *rest = chain.split(" / ")
        width, blocks = first.split("x")
        arch = parse(f"{block}: {width}x{int(blocks) + number} / {' / '.join(rest)}")
        archive.see(Candidate(number=number, role="child" if number else "root", arch=arch, steps=9, seed=0))
        archive.learn(Outcome(number=number, metrics={"ap": ap}))
    return archive


def proposals(archive: Archive) -> list[Candidate]:
    settings = msgspec.structs.replace(SETTINGS, plan=msgspec.structs.replace(PLAN, candidates=10**6))
    found = [released.propose(1000 + n, archive, settings, cost) for n in range(MANY)]
    return [c for c in found if c is not None]


def test_the_worse_of_the_five_best_are_favoured() -> None:
    """The weight is 1 + rank + place by size: where the worse are larger, 1, 3, 5, 7, 9; the other way round, all 5."""
    rising = Counter(c.parent for c in proposals(archive_of([0.5, 0.4, 0.3, 0.2, 0.1, 0.0])))
    weights = {0: 1, 1: 3, 2: 5, 3: 7, 4: 9}
    assert set(rising) == set(weights)  # the sixth is never a parent
    for parent, weight in weights.items():
        expected = MANY * weight / 25
        assert abs(rising[parent] - expected) < 4 * expected**0.5 + 2
    level = Counter(c.parent for c in proposals(archive_of([0.1, 0.2, 0.3, 0.4, 0.5])))
    assert all(abs(level[n] - MANY / 5) < 4 * (MANY / 5) ** 0.5 for n in range(5))


def test_copies_of_every_stage_are_drawn_anew_with_fixed_shares() -> None:
    copies = Counter(n for c in proposals(archive_of([0.3])) for n in (c.arch.copies or (0,) * len(c.arch.stages)))
    total = sum(copies.values())
    for number, share in zip(released.COPIES, released.COPY_SHARES, strict=True):
        assert abs(copies[number] / total - share) < 4 * (share * (1 - share) / total) ** 0.5
    pairs = Counter(p for c in proposals(archive_of([0.3])) if c.arch.copies for p in pairwise(c.arch.copies))
    assert abs(pairs[0, 0] / pairs.total() - 0.16) < 0.05  # neighbours know nothing of each other


def test_there_is_no_budget_and_no_space_but_what_can_be_built() -> None:
    children = proposals(archive_of([0.3], "basic: 16x2 / 32x2 / 64x2 / 128x2"))
    assert any(SETTINGS.budget.exceeded(cost(c.arch)) for c in children)
    edge = archive_of([0.3], f"basic: 16x{HARD_LIMIT_BLOCKS - 7} / 32x1 / 64x1 / 128x1 / 128x1 / 128x1 / 128x1 / 128x1")
    for c in proposals(edge)[:100]:
        assert c.arch.block_count <= HARD_LIMIT_BLOCKS
        assert len(c.arch.stages) == HARD_LIMIT_STAGES


def test_children_are_what_their_moves_say_and_doublings_never_move() -> None:
    for c in proposals(archive_of([0.3]))[:200]:
        assert apply_all(ROOT, c.moves) == c.arch
        assert {m.kind for m in c.moves} <= {"expand-block", "swap-boundary", "expand-stage", "add-copy", "remove-copy"}
        assert all(m.by == 2 for m in c.moves if m.kind == "expand-block")


def test_boundaries_move_by_no_more_than_the_longer_stage_and_one_less_later() -> None:
    moves = [m for c in proposals(archive_of([0.3], "basic: 16x8 / 32x8 / 64x8 / 128x8")) for m in c.moves]
    assert {m.by for m in moves if m.kind == "swap-boundary"} == {-3, -2, -1, 1, 2}


@pytest.mark.parametrize("failing", [0, 4])
def test_a_search_by_it_has_a_root_and_children_and_nothing_else(failing: int) -> None:
    played = run(SETTINGS, failing=failing)
    assert [c.role for c in played.candidates] == ["root"] + ["child"] * PLAN.candidates
    assert all(c.until is None for c in played.candidates)


def test_where_the_root_failed_nothing_is_proposed() -> None:
    assert len(run(SETTINGS, fails=lambda number: number == 0).candidates) == 1
