"""Moves that keep the function keep it: over random nets and moves, in single and double precision."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.morph.conftest import apart, archs, child_of, detector_of, pictures_of, pyramid, stir, train

from spnas.arch import Move, parse
from spnas.arch.move import KINDS, apply, keeps_function, neighbours
from spnas.morph import departure

IN_TRAINING_TOO = ("expand-block", "expand-stage", "add-copy")
MOVES_A_NET = 5
NETS = 100  # 500 moves a block kind
MOST_BLOCKS = 7


def _moves(draw: Any, arch: Any) -> Move:
    """Draw a kind, then a move of it: single moves are many for some kinds and few for others."""
    grown = arch.block_count >= MOST_BLOCKS or len(arch.stages) >= 4 or sum(arch.copies) >= 3
    kinds = [k for k in KINDS if not (grown and k in ("expand-block", "expand-stage", "add-copy"))]
    possible = list(neighbours(arch, kinds=tuple(kinds)))
    kind = draw(st.sampled_from(sorted({m.kind for m in possible})))
    return draw(st.sampled_from([m for m in possible if m.kind == kind]))


@pytest.mark.parametrize("block", ["basic", "bottleneck", "resnext"])
def test_walks_over_random_moves(block: str) -> None:
    """Each move from where the last one led: exact ones to 1e-5, or 1e-12 in double precision, inserted blocks,
    appended stages and copies in training mode as well; all others start near enough to go on from."""

    @settings(max_examples=NETS, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data(), archs(block), st.booleans())
    def walk(data: st.DataObject, arch: Any, double: bool) -> None:
        dtype, tolerance = (torch.float64, 1e-12) if double else (torch.float32, 1e-5)
        pictures = pictures_of().to(dtype)
        parent = stir(detector_of(arch).to(dtype))
        for step in range(MOVES_A_NET):
            move = _moves(data.draw, parent.backbone.arch)
            exact = keeps_function(parent.backbone.arch, move)
            child = child_of(parent, (move,), pictures=None if exact and step % 2 else pictures)
            assert child.backbone.arch == apply(parent.backbone.arch, move)
            with torch.no_grad():
                old, new = pyramid(parent, pictures), pyramid(child, pictures)
                assert all(bool(level.isfinite().all()) for level in new)
                if exact:
                    assert apart(new, old) <= tolerance, str(move)
                if exact and move.kind in IN_TRAINING_TOO:
                    assert apart(pyramid(child.train(), pictures), pyramid(parent.train(), pictures)) <= tolerance
            parent = stir(child, seed=step)

    walk()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.data(), st.sampled_from(["basic", "bottleneck"]).flatmap(archs))
def test_several_exact_moves_at_once_are_exact(data: st.DataObject, arch: Any) -> None:
    """A child is one to three moves away from its parent, and weights follow all of them in one go."""
    moves: tuple[Move, ...] = ()
    now = arch
    for _ in range(3):
        possible = [m for m in neighbours(now, kinds=KINDS) if keeps_function(now, m)]
        moves = (*moves, data.draw(st.sampled_from(possible)))
        now = apply(now, moves[-1])
    parent, pictures = stir(detector_of(arch)).double(), pictures_of().double()
    with torch.no_grad():
        for seen in (None, pictures):
            child = child_of(parent, moves, pictures=seen)
            assert apart(pyramid(child, pictures), pyramid(parent, pictures)) <= 1e-12


@pytest.fixture(scope="module", params=["basic", "basic conv", "bottleneck", "bottleneck conv", "resnext"])
def trained(request: pytest.FixtureRequest) -> Any:
    """A detector after some real steps of training."""
    width = 16 if request.param == "resnext" else 8
    detector = detector_of(parse(f"{request.param}: {width}x2 / {2 * width}x1 / {2 * width}x1"))
    train(detector, 4)
    return detector


@torch.no_grad()
def test_an_inserted_block_changes_no_detection(trained: Any) -> None:
    """Not by a single bit, wherever it is."""
    sizes, pictures = torch.tensor([[64, 64]] * 2), pictures_of(64)
    before = trained.detect(pictures, sizes)
    assert bool((before.labels >= 0).any())
    for move in neighbours(trained.backbone.arch, kinds=("expand-block",)):
        after = child_of(trained, (move,), pictures=pictures).detect(pictures, sizes)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), str(move)


@torch.no_grad()
def test_an_appended_stage_leaves_the_old_levels_as_they_were(trained: Any) -> None:
    """To the bit; and the new level is near what was pooled in its place before."""
    pictures = pictures_of(64, count=4)
    child = child_of(trained, (Move("expand-stage"),), pictures=pictures)
    *levels, pooled = trained.neck(trained.backbone(pictures))
    *same, new, _ = child.neck(child.backbone(pictures))
    assert all(torch.equal(a, b) for a, b in zip(levels, same, strict=True))
    assert new.shape == pooled.shape
    centre = child.neck.lateral[-1](child.backbone(pictures)[-1])
    assert torch.allclose(centre, trained.neck.lateral[-1](trained.backbone(pictures)[-1])[..., ::2, ::2], atol=1e-5)


@torch.no_grad()
def test_a_copy_that_is_added_changes_no_detection(trained: Any) -> None:
    """Its fusion carries nothing yet."""
    sizes, pictures = torch.tensor([[64, 64]] * 2), pictures_of(64)
    before = trained.detect(pictures, sizes)
    for stage in range(3):
        after = child_of(trained, (Move("add-copy", stage),), pictures=pictures).detect(pictures, sizes)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@torch.no_grad()
def test_no_move_at_all_copies_everything(trained: Any) -> None:
    """Every tensor, pictures or not."""
    for pictures in (None, pictures_of(64)):
        child = child_of(trained, (), pictures=pictures)
        same = child.state_dict()
        skipped = [n for n, v in trained.state_dict().items() if not torch.equal(v, same[n])]
        assert [n for n in skipped if "num_batches_tracked" not in n] == []
        assert departure(child, trained, pictures_of(64)) == 0
