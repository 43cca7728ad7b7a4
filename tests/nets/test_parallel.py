"""Copies of stages: how they are wired, that none of them is the serial net, and what tying them means."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spnas.arch import parse
from spnas.nets.backbone import Backbone
from spnas.nets.cost import cost

SERIAL = "basic: 8x2 / 16x2 / 32x1 / 32x1"
PARALLEL = "basic: 8x2 / 16x2 / 32x1 / 32x1 + 1-0-2-1"


def _net(text: str, *, tied: bool = False, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return Backbone(parse(text), tied=tied).eval()


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Of a size that no stride divides."""
    return torch.randn(2, 3, 70, 90, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_no_copies_are_the_serial_net(pictures: Tensor) -> None:
    """Same names, same weights, same numbers: nothing of the parallel phase is in a serial net."""
    serial, zero = _net(SERIAL), _net(SERIAL + " + 0-0-0-0")
    assert list(serial.state_dict()) == list(zero.state_dict())
    assert not any("copies" in name for name in serial.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(serial(pictures), zero(pictures), strict=True))


@torch.no_grad()
def test_silent_fusions_leave_the_serial_net(pictures: Tensor) -> None:
    """With every fusion's BN at zero, the main net sees nothing of its copies."""
    serial, parallel = _net(SERIAL), _net(PARALLEL)
    parallel.load_state_dict(serial.state_dict(), strict=False)
    for copies in parallel.copies:
        for fusion in copies.fusions:
            fusion[1].weight.zero_()
    assert all(torch.equal(a, b) for a, b in zip(serial(pictures), parallel(pictures), strict=True))


def _fused(fusion: torch.nn.Module, y: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(fusion(y), size=x.shape[-2:], mode="nearest")


@torch.no_grad()
def test_copies_are_wired_as_the_figure_says(pictures: Tensor) -> None:
    """Written out by hand for 1-0-2-1: copy 1 of stage 3 finds none before it and takes the main net's output, copy 1
    of stage 4 that of its own stage 3, and the chain runs from copy 2 over copy 1 into the input of the main net."""
    net = _net(PARALLEL)
    one, _, three, four = net.copies
    x = net.stem(pictures)
    stage1 = net.stages[0](x + _fused(one.fusions[0], one.stages[0](x), x))
    stage2 = net.stages[1](stage1)
    second = three.stages[1](stage2)
    first = three.stages[0](stage2 + _fused(three.fusions[1], second, stage2))
    stage3 = net.stages[2](stage2 + _fused(three.fusions[0], first, stage2))
    last = four.stages[0](first)
    stage4 = net.stages[3](stage3 + _fused(four.fusions[0], last, stage3))
    found = net(pictures)
    assert all(torch.equal(a, b) for a, b in zip(found, (stage1, stage2, stage3, stage4), strict=True))


@torch.no_grad()
def test_only_the_main_net_is_put_out(pictures: Tensor) -> None:
    """Copies change no shape and add no output."""
    shapes = [f.shape for f in _net(SERIAL)(pictures)]
    assert [f.shape for f in _net(PARALLEL)(pictures)] == shapes


def test_copies_have_weights_of_their_own_unless_tied() -> None:
    """Untied, as many more as the copies have; tied, only the fusions come on top."""
    serial, own, tied = _net(SERIAL), _net(PARALLEL), _net(PARALLEL, tied=True)
    fusions = sum(p.numel() for n, p in tied.named_parameters() if "fusions" in n)
    stages = [sum(p.numel() for p in stage.parameters()) for stage in serial.stages]
    count = [sum(p.numel() for p in net.parameters()) for net in (serial, own, tied)]
    assert count[2] == count[0] + fusions
    assert count[1] == count[2] + stages[0] + 2 * stages[2] + stages[3]


@torch.no_grad()
def test_tied_copies_do_what_equal_ones_do(pictures: Tensor) -> None:
    """Copies that hold the main net's weights and tied ones give the same numbers."""
    tied, own = _net(PARALLEL, tied=True), _net(PARALLEL)
    own.load_state_dict(tied.state_dict(), strict=False)
    for copies, stage in zip(own.copies, own.stages, strict=True):
        for copy in copies.stages:
            copy.load_state_dict(stage.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(tied(pictures), own(pictures), strict=True))


@pytest.mark.parametrize("tied", [False, True])
def test_every_weight_of_a_parallel_net_learns(tied: bool, pictures: Tensor) -> None:
    """All that is built lies on the way to an output."""
    net = _net(PARALLEL, tied=tied).train()
    torch.autograd.backward(torch.stack([f.square().mean() for f in net(pictures)]).sum())
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_copy_costs_its_stage_and_its_fusion() -> None:
    """Multiply-accumulates and parameters, by hand for a 1x1 fusion from 16 to 8 channels at stride 8."""
    serial, parallel = (cost(parse(SERIAL + tail), 64, 64) for tail in ("", " + 0-2-0-0"))
    assert parallel.stage_macs[1] == 3 * serial.stage_macs[1] + 2 * 16 * 8 * 8 * 8
    assert parallel.stage_params[1] == 3 * serial.stage_params[1] + 2 * (16 * 8 + 2 * 8)
    assert parallel.stage_macs[0] == serial.stage_macs[0]
    assert cost(parse(SERIAL + " + 0-2-0-0"), 64, 64, tied=True).params == serial.params + 2 * (16 * 8 + 2 * 8)
