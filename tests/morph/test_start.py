"""What a child starts from where its parent's function cannot be kept, and what is refused."""

from typing import Any

import pytest
import torch
from tests.morph.conftest import apart, child_of, detector_of, pictures_of, pyramid, stir, train

from spnas.arch import Move, parse
from spnas.arch.move import KINDS, apply, keeps_function, neighbours, origins
from spnas.morph import departure, inherit, kept_projections

NETS = {
    "basic": "basic: 8x2 / 16x2 / 32x2 / 64x2",
    "bottleneck": "bottleneck conv: 8x2 / 16x2 / 32x2",
    "resnext": "resnext: 16x2 / 32x2 / 32x2",
}
FITTED, UNSEEN = pictures_of(64, count=8), pictures_of(64, count=8, seed=77)


@pytest.fixture(scope="module", params=list(NETS))
def parent(request: pytest.FixtureRequest) -> Any:
    """Trained a little, so that its channels have something to do with one another."""
    detector = detector_of(parse(NETS[request.param]))
    train(detector, 6)
    return detector


def test_every_move_of_the_family_can_be_inherited(parent: Any) -> None:
    """Also where boundaries and doublings stand at one place, and a boundary moves over the doubling."""
    for move in neighbours(parent.backbone.arch, kinds=KINDS):
        assert departure(child_of(parent, (move,), pictures=FITTED), parent, UNSEEN) < 1, str(move)


@pytest.mark.parametrize(
    ("kind", "share"), [("swap-boundary", 0.8), ("swap-doubling", 0.8), ("narrow", 0.8), ("remove-block", 1.0)]
)
def test_pictures_bring_a_child_nearer_to_its_parent(parent: Any, kind: str, share: float) -> None:
    """On pictures that nothing was measured on, over all moves of a kind that cannot be exact."""
    arch = parent.backbone.arch
    moves = [m for m in neighbours(arch, kinds=(kind,)) if not keeps_function(arch, m)]
    near, far = (
        sum(departure(child_of(parent, (m,), pictures=pictures), parent, UNSEEN) for m in moves)
        for pictures in (FITTED, None)
    )
    assert near < share * far


def test_a_copy_that_is_removed_is_made_up_for() -> None:
    """What it said to the main net, as far as it can be told from what the main net sees."""
    parent = stir(detector_of(parse("basic: 8x2 / 16x2 / 32x1 + 0-1-1")))
    for stage in (1, 2):
        move = Move("remove-copy", stage)
        near, far = (
            departure(child_of(parent, (move,), pictures=pictures), parent, UNSEEN) for pictures in (FITTED, None)
        )
        assert near < far


@torch.no_grad()
@pytest.mark.parametrize("move", [Move("swap-boundary", 1, -1), Move("swap-boundary", 1, 1)], ids=str)
def test_the_shortcut_of_a_moved_boundary_is_a_strided_identity(parent: Any, move: Move) -> None:
    """Every second row and column of what comes in, so that the block is not cut off from those before it."""
    child = child_of(parent, (move,), pictures=FITTED)
    begins = child.backbone.stages[1][0]
    shape = (2, begins.shortcut[0].in_channels, 8, 8)
    if parent.backbone.blocks()[apply(parent.backbone.arch, move).starts[0]].shortcut is not None:
        pytest.skip("this block was trained with a projection, and keeps it")
    x = torch.rand(shape)
    assert torch.allclose(begins.shortcut(x), x[..., ::2, ::2], atol=1e-4)


@torch.no_grad()
def test_an_identity_holds_in_training_mode_on_the_pictures_it_was_measured_on() -> None:
    """Its BN goes by the batch then, and has been told what the batch is like."""
    parent = stir(detector_of(parse("basic: 8x3 / 16x1")))
    child = child_of(parent, (Move("swap-doubling", 0, -1),), pictures=FITTED)
    block, entered = child.backbone.stages[0][2], []
    block.register_forward_pre_hook(lambda _module, inputs: entered.append(inputs[0]))
    child.backbone.eval()(FITTED)
    assert torch.allclose(block.shortcut.train()(entered[0])[:, :8], entered[0], atol=1e-4)


def test_a_block_keeps_the_projection_it_was_trained_with() -> None:
    """An earlier doubling leaves it where shapes do not change any more."""
    parent, move = detector_of(parse("basic: 8x2 / 16x2")), Move("swap-doubling", 0, -1)
    young, from_where = apply(parent.backbone.arch, move), origins(parent.backbone.arch, (move,))
    later = Move("swap-boundary", 1, 1)
    assert kept_projections(parent.backbone, young, from_where) == frozenset()  # it opens a stage still
    young = apply(young, later)
    assert kept_projections(parent.backbone, young, origins(parent.backbone.arch, (move, later))) == frozenset({2})


def test_a_child_without_the_projections_of_its_parent_is_refused() -> None:
    """Leaving one out would lose half of what the block does."""
    parent, move = detector_of(parse("basic: 8x1 16x2")), Move("swap-doubling", 0, 1)
    young = apply(parent.backbone.arch, move)
    with pytest.raises(ValueError, match="build the child with those of `kept_projections`"):
        inherit(detector_of(young), parent, origins(parent.backbone.arch, (move,)))


@torch.no_grad()
def test_channels_that_say_the_same_are_lost_first() -> None:
    """A width that was made by repeating every channel can be taken back, nearly."""
    wide = stir(detector_of(parse("basic: 8x2 16x1 / 16x1")).double())
    block = wide.backbone.stages[0][2]
    for part in (block.conv1, block.conv2, block.shortcut):
        part[0].weight[8:] = part[0].weight[:8]
        for tensor in (part[1].weight, part[1].bias, part[1].running_mean, part[1].running_var):
            tensor[8:] = 0.5 * tensor[:8] if tensor is part[1].weight or tensor is part[1].bias else tensor[:8]
    seen = FITTED.double()
    child = child_of(wide, (Move("swap-doubling", 0, 1),), pictures=seen)
    assert departure(child, wide, UNSEEN.double()) < 0.05


@torch.no_grad()
def test_tied_copies_follow_their_stage() -> None:
    """They have no weights of their own to inherit, only fusions."""
    parent, pictures = stir(detector_of(parse("basic: 8x2 / 16x2 / 16x1 + 0-1-2"), tied=True)), pictures_of(64)
    for move in (Move("expand-block", 3, 1), Move("expand-stage"), Move("add-copy", 0)):
        child = child_of(parent, (move,), pictures=pictures)
        assert apart(pyramid(child, pictures), pyramid(parent, pictures)) < 1e-6


def test_inheriting_leaves_modes_and_hooks_as_they_were(parent: Any) -> None:
    """A measurement must not be seen afterwards."""
    move = Move("swap-boundary", 1, -1)
    arch = apply(parent.backbone.arch, move)
    from_where = origins(parent.backbone.arch, (move,))
    child = detector_of(arch, projections=kept_projections(parent.backbone, arch, from_where))
    child.backbone.stages[0].eval()
    inherit(child, parent.train(), from_where, pictures=FITTED)
    assert child.training
    assert parent.training
    assert not child.backbone.stages[0].training
    assert not any(m._forward_hooks or m._forward_pre_hooks for net in (child, parent) for m in net.modules())
    parent.eval()
