"""Cost: additive per block, equal to a count over the whole net, and quick."""

import itertools
import runpy
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from spnas.arch import Arch, parse
from spnas.arch.move import KINDS, apply, neighbours
from spnas.arch.published import PUBLISHED
from spnas.arch.space import around, why_not
from spnas.config import spend
from spnas.nets.backbone import Backbone
from spnas.nets.cost import cost
from spnas.search.budget import Budget

COUNTED = (
    "basic: 8x2 / 16x2 / 32x2 / 64x2",
    "bottleneck conv: 8x1 16x1 / 16x2 / 32x1 / 32x1 / 32x1",
    "resnext: 16x1 / 32x2 / 32x1 64x1",
    "basic: 8x2 / 16x2 / 32x1 / 32x1 + 1-0-2-1",
    "resnext64x4d: 16x2 / 16x1 + 2-1",
)


def whole_count(net: nn.Module, height: int, width: int) -> int:
    """Count a net as it runs: what every convolution multiplies for every number it puts out."""
    total = 0

    def add(conv: nn.Conv2d, _inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        nonlocal total
        kernel = conv.kernel_size[0] * conv.kernel_size[1]
        total += out.numel() * kernel * conv.in_channels // conv.groups

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, height, width))
    return total


@pytest.mark.parametrize(("text", "size"), list(itertools.product(COUNTED, [(64, 64), (97, 130)])))
def test_the_sum_over_blocks_is_the_count_of_the_whole(text: str, size: tuple[int, int]) -> None:
    """Copies and odd sizes too."""
    arch = parse(text)
    net = Backbone(arch)
    found = cost(arch, *size)
    assert found.macs == whole_count(net, *size)
    assert found.params == sum(p.numel() for p in net.parameters())
    assert (sum(found.stage_macs), sum(found.stage_params)) == (found.macs, found.params)


def test_kept_projections_are_counted_when_asked_for() -> None:
    """A search leaves them out, since a final training does without them."""
    arch, kept = parse("basic: 8x2 / 16x3"), frozenset({1, 4})
    net = Backbone(arch, projections=kept)
    found = cost(arch, 64, 64, projections=kept)
    assert (found.macs, found.params) == (whole_count(net, 64, 64), sum(p.numel() for p in net.parameters()))
    assert found.macs > cost(arch, 64, 64).macs


def test_cost_is_additive_per_block() -> None:
    """The same block adds the same wherever it is inserted in its run, and twice the block twice as much."""
    one, two, three = (cost(parse(f"bottleneck: 16x2 / 32x{n} / 64x2")).macs for n in (2, 3, 4))
    assert three - two == two - one > 0


@pytest.mark.parametrize(
    ("name", "gmacs"),
    [
        ("spnet_voc_bb", 5.53),
        ("spnet_ecp", 14.04),
        ("spnet_bdd", 13.70),
        ("spnet_coco_bnb", 9.46),
        ("spnet_coco_xb", 9.06),
        ("resnet50", 4.09),
        ("resnet101", 7.80),
    ],
)
def test_published_nets_cost_what_is_known(name: str, gmacs: float) -> None:
    """At 224x224 with the 7x7 stem."""
    assert cost(PUBLISHED[name].arch).gmacs == pytest.approx(gmacs, abs=0.006)


def test_a_thousand_candidates_are_counted_in_no_time() -> None:
    """Once the kinds of block are known, candidates are sums."""
    draw = np.random.default_rng(0)
    archs: list[Arch] = []
    arch = PUBLISHED["resnet50"].arch
    for _ in range(1000):
        moves = list(neighbours(arch, kinds=KINDS))
        arch = apply(arch, moves[int(draw.integers(len(moves)))])
        archs.append(arch)
        if arch.block_count > 60 or any(n > 3 for n in arch.copies):
            arch = PUBLISHED["resnet50"].arch
    for arch in archs:
        cost(arch)
    began = time.perf_counter()
    for arch in archs:
        cost(arch)
    assert time.perf_counter() - began < 2.0


@pytest.mark.parametrize(
    ("root", "gmacs", "size"),
    [("basic: 16x2 / 32x2 / 64x2 / 128x2", 0.4, (240, 320)), ("r_111-2111-211111-211", 6.0, (224, 224))],
)
def test_proposals_within_a_budget_are_within_it_by_another_count(
    root: str, gmacs: float, size: tuple[int, int]
) -> None:
    """The benchmark in small: all by formulas that share nothing with the cost model, some by running them whole."""
    bench = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "proposals.py"))
    space, budget = around(parse(root)), Budget(gmacs=gmacs)
    began = time.process_time()
    found, _ = bench["propose_many"](parse(root), space, budget, partial(spend, size=size), count=500)
    assert time.process_time() - began < 10  # 10,000 take less than 20 seconds; a cold start is in this
    assert len({arch.id for arch in found}) == 500
    assert all(why_not(arch, space) is None for arch in found)
    for number, arch in enumerate(found):
        by_hand = bench["macs_by_hand"](arch, *size)
        assert 0.9 <= by_hand / 1e9 / gmacs <= 1
        if number % 100 == 0:
            assert bench["macs_of_a_run"](arch, *size) == by_hand
