"""Facts about nets that only look."""

import copy

import pytest
import torch
from torch import nn

from spnas.arch import parse
from spnas.nets.backbone import Backbone
from spnas.nets.inference import inference_copy, optimise_for_inference
from spnas.nets.regions import RegionHead
from spnas.nets.settings import DetectorSettings


def used(text: str) -> Backbone:
    """Return a backbone whose BNs have counted statistics and have weights, in double precision."""
    torch.manual_seed(0)
    net = Backbone(parse(text)).double()
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return net.eval()


@pytest.mark.parametrize(
    "text",
    ["basic: 8x2 / 16x1", "bottleneck: 8x1 / 16x2", "resnext: 64x1 / 128x1", "basic: 8x1 / 16x1 / 32x1 + 0-0-1"],
)
def test_what_comes_out_is_the_same(text: str) -> None:
    """For every stage, of every kind of block and with copies; and no BN is left."""
    net = used(text)
    quick = inference_copy(net)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in quick.modules())
    pictures = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for ours, theirs in zip(quick(pictures), net(pictures), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_the_net_itself_is_left_as_it_was() -> None:
    """Its weights, its BNs, and that it may be in training."""
    net = used("basic: 8x2 / 16x1").train()
    before = copy.deepcopy(net.state_dict())
    quick = inference_copy(net)
    assert net.training
    assert not quick.training
    after = net.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_what_has_no_norm_is_shared_and_not_copied() -> None:
    """A pyramid and heads would double the memory otherwise."""
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.Conv2d(4, 4, 1))
    quick = inference_copy(net)
    assert quick[1].weight is net[1].weight  # type: ignore[index]
    assert quick[0][0].weight is not net[0][0].weight  # type: ignore[index]


def test_a_branch_whose_last_weight_is_zero_puts_out_exactly_nothing() -> None:
    """So a net with an inserted block still finds exactly what its parent does."""
    branch = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)).eval()
    nn.init.zeros_(branch[1].weight)  # type: ignore[arg-type]
    assert not inference_copy(branch)(torch.randn(1, 3, 8, 8)).any()


def test_heads_say_the_same_and_copy_no_pooled_regions() -> None:
    """Doing it once more changes nothing; the head that was copied keeps its weights as they were."""
    torch.manual_seed(0)
    settings = DetectorSettings(fpn_channels=6, roi_size=3, hidden=8)
    head = RegionHead(settings, classes=2, strides=(4, 8)).double()
    levels = [torch.randn(2, 6, side, side, dtype=torch.float64) for side in (16, 8)]
    boxes = torch.tensor([[[0.0, 0, 12, 20], [5, 9, 40, 33], [30, 2, 64, 64]]] * 2, dtype=torch.float64)
    wanted, weight = head(levels, boxes), head.hidden1.weight.clone()
    quick = optimise_for_inference(inference_copy(head))
    for ours, theirs in zip(quick(levels, boxes), wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5)
    assert torch.equal(head.hidden1.weight, weight)
    seen: list[torch.Tensor] = []
    quick.hidden1.register_forward_pre_hook(lambda _, given: seen.append(given[0]))  # type: ignore[union-attr, operator]
    quick(levels, boxes)
    assert seen[0]._base is not None  # a view: flattening took no copy
