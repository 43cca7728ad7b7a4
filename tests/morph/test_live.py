"""Exact is not enough: what is new must learn, from the first steps on."""

import pytest
import torch
from tests.morph.conftest import child_of, detector_of, pictures_of, stir, train

from spnas.arch import Arch, Move, parse
from spnas.arch.move import KINDS, neighbours

NETS = (
    "basic: 8x2 / 16x2 / 16x1 + 0-1-0",
    "basic conv: 8x1 16x1 / 16x2 32x1 / 32x2",
    "bottleneck: 8x2 / 16x2 / 16x1 + 0-1-0",
    "bottleneck conv: 8x1 16x1 / 16x2 / 16x2",
    "resnext: 16x2 / 32x2 / 32x1",
)
CASES = [(text, move) for text in NETS for move in neighbours(parse(text), kinds=KINDS) if abs(move.by) < 2]


@pytest.mark.parametrize(("text", "move"), CASES, ids=lambda v: str(v).replace(" ", "-"))
def test_every_parameter_has_a_gradient_within_three_steps(text: str, move: Move) -> None:
    """Those that are new as those that are not."""
    child = child_of(stir(detector_of(parse(text))), (move,), pictures=pictures_of(64))
    assert [name for name, gradient in train(child, 3).items() if not gradient.any()] == []


GROWING = [(text, move) for text, move in CASES if move.kind == "swap-doubling" and move.by < 0]


@pytest.mark.parametrize(("text", "move"), GROWING, ids=lambda v: str(v).replace(" ", "-"))
def test_every_channel_of_a_tensor_that_grows_learns(text: str, move: Move) -> None:
    """Each row and each column of its convolutions has a gradient within three steps: no new channel is dead."""
    parent = stir(detector_of(parse(text)))
    child = child_of(parent, (move,), pictures=pictures_of(64))
    shapes = {name: p.shape for name, p in parent.backbone.named_parameters()}
    gradients = train(child, 3)
    grown = [n for n, p in child.backbone.named_parameters() if p.ndim == 4 and shapes.get(n) != p.shape]
    assert grown
    for name in grown:
        gradient = gradients[f"backbone.{name}"].sum((2, 3))
        assert bool((gradient.sum(1) > 0).all()), f"rows of {name}"
        assert bool((gradient.sum(0) > 0).all()), f"columns of {name}"


def test_a_block_with_every_norm_at_zero_would_not_learn() -> None:
    """The trap: as exact, and its convolutions get no gradient at all."""
    child = child_of(stir(detector_of(parse("basic: 8x2 / 16x1"))), (Move("expand-block", 1, 1),))
    block = child.backbone.stages[0][2]
    torch.nn.init.zeros_(block.conv1[1].weight)
    gradients = train(child, 3)
    assert not any(gradients[f"backbone.stages.0.2.{name}.0.weight"].any() for name in ("conv1", "conv2"))


def test_a_new_block_learns_in_earnest() -> None:
    """After some steps it is not its shortcut any more."""
    child = child_of(stir(detector_of(Arch("basic", ((8, 8), (16,))))), (Move("expand-block", 1, 1),))
    train(child, 8)
    x = torch.rand(2, 8, 8, 8)
    block = child.backbone.stages[0][2]
    assert float((block(x) - x).detach().abs().max()) > 1e-3
