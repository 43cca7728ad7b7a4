"""Facts about the region proposal network: its loss over samples is that of a pass over everything."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spnas.nets import boxes as bx
from spnas.nets.proposals import CODE_WEIGHTS, RPN, Targets
from spnas.nets.settings import DetectorSettings

SETTINGS = DetectorSettings(fpn_channels=8, anchor_scale=4.0, rpn_samples=16)
TARGETS = Targets(
    torch.tensor([[[4.0, 4, 20, 24], [30, 8, 60, 40]], [[8.0, 8, 24, 24], [0, 0, 0, 0]]]),
    torch.tensor([[0, 1], [2, -1]]),
    torch.zeros(2, 2, dtype=torch.bool),
)


def made(dtype: torch.dtype = torch.float64) -> tuple[RPN, list[Tensor]]:
    """Return a network of large weights, so that no term is nearly constant, and three levels of 64 px pictures."""
    torch.manual_seed(0)
    rpn = RPN(SETTINGS, (4, 8, 16)).to(dtype)
    for parameter in rpn.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return rpn, [torch.randn(2, 8, n, n, dtype=dtype, requires_grad=True) for n in (16, 8, 4)]


def loss_of_everything(rpn: RPN, levels: list[Tensor], drawn: Tensor, column: Tensor, anchors: Tensor) -> Tensor:
    """Return the sum of the terms by a differentiable pass over all cells (Faster R-CNN, equation 1, by samples)."""
    hidden = [rpn.conv(level).relu() for level in levels]
    score = torch.cat([rpn.objectness(h).permute(0, 2, 3, 1).flatten(1) for h in hidden], 1)
    offset = torch.cat([rpn.offsets(h).permute(0, 2, 3, 1).reshape(2, -1, 4) for h in hidden], 1)
    used, hit = drawn >= 0, drawn == 1
    truth = TARGETS.boxes.gather(1, column[..., None].expand(-1, -1, 4))[hit]
    wanted = bx.encode(truth, anchors.expand(2, -1, -1)[hit], CODE_WEIGHTS)
    apart = F.binary_cross_entropy_with_logits(score[used], hit[used].to(score.dtype), reduction="sum")
    return (apart + F.smooth_l1_loss(offset[hit], wanted, beta=1 / 9, reduction="sum")) / used.sum()


def test_loss_and_gradients_are_those_of_a_pass_over_everything() -> None:
    """The same anchors are drawn by the same generator; every weight and every level gets the same gradient."""
    rpn, levels = made()
    with torch.no_grad():
        guesses = rpn(levels)
    rng = torch.Generator().manual_seed(3)
    found = torch.stack(list(rpn.loss(levels, guesses, TARGETS, rng).values())).sum()
    variables = [*rpn.parameters(), *levels]
    gradients = torch.autograd.grad(found, variables)

    anchors = torch.cat(guesses.anchors)
    column, state = bx.assign(anchors, TARGETS.boxes, TARGETS.real, positive=0.7, negative=0.3, best_too=True)
    drawn = bx.sample(state, SETTINGS.rpn_samples, 0.5, torch.Generator().manual_seed(3))
    assert (drawn == 1).any()
    assert (drawn == 0).any()
    whole = loss_of_everything(rpn, levels, drawn, column, anchors)
    assert found.item() == pytest.approx(whole.item(), rel=1e-6)
    for got, wanted in zip(gradients, torch.autograd.grad(whole, variables), strict=True):
        assert torch.allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_weights_get_gradients_in_half_precision_too() -> None:
    """Where weights are cast for the pass that keeps nothing, the casts must not be what the loss is made from."""
    rpn, levels = made(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        terms = rpn.loss(levels, rpn(levels), TARGETS, torch.Generator().manual_seed(3))
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in rpn.parameters())


def test_the_pass_over_all_cells_keeps_nothing_for_a_way_back() -> None:
    """Nothing of it is differentiated, and so nothing of it takes memory until the step ends."""
    rpn, levels = made()
    guesses = rpn(levels)
    assert not any(part.requires_grad for part in (*guesses.scores, *guesses.offsets))
