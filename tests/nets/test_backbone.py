"""What comes out of a backbone: one map a stage, of the strides and channels it says."""

import pytest
import torch
from torch import nn

from spnas.arch import Arch, parse
from spnas.errors import UsageError
from spnas.nets.backbone import Backbone, build_stem, plan, stage_channels
from spnas.nets.blocks import block_kind
from spnas.nets.neck import FPN

BLOCKS = {"basic": 8, "bottleneck": 8, "resnext": 16}


def _arch(block: str, stages: int, stem: str = "pool") -> Arch:
    width = BLOCKS[block]
    return Arch(block, tuple((width * 2 ** min(s, 2),) * (1 + s % 2) for s in range(stages)), stem=stem)


@pytest.mark.parametrize("stem", ["pool", "conv"])
@pytest.mark.parametrize("stages", [4, 5, 6])
@pytest.mark.parametrize("block", list(BLOCKS))
def test_every_stage_is_an_output_of_its_stride_and_channels(block: str, stages: int, stem: str) -> None:
    """From stride 4 on, each stage halves; sizes that do not divide are rounded up."""
    arch = _arch(block, stages, stem)
    net = Backbone(arch).eval()
    with torch.no_grad():
        features = net(torch.randn(2, 3, 97, 130))
    assert net.strides == tuple(4 * 2**s for s in range(stages))
    assert net.channels == stage_channels(arch)
    assert len(net.blocks()) == arch.block_count
    for stage, feature in enumerate(features):
        size = tuple(-(-side // net.strides[stage]) for side in (97, 130))
        assert feature.shape == (2, arch.stages[stage][-1] * block_kind(block).EXPANSION, *size)


@pytest.mark.parametrize("block", list(BLOCKS))
def test_every_block_puts_out_nothing_below_zero(block: str) -> None:
    """Inserting a block is exact because of it."""
    for feature in Backbone(_arch(block, 4))(torch.randn(2, 3, 64, 64)):
        assert float(feature.detach().min()) >= 0


def test_a_projection_stands_where_shapes_change_and_where_it_is_asked_for() -> None:
    """Elsewhere the shortcut is the identity, which has no weights."""
    arch = parse("basic: 8x2 16x2 / 16x2")
    has = [block.shortcut is not None for block in Backbone(arch).blocks()]
    kept = [block.shortcut is not None for block in Backbone(arch, projections=frozenset({1, 5})).blocks()]
    assert has == [False, False, True, False, True, False]
    assert kept == [False, True, True, False, True, True]


def test_the_plan_says_what_is_built() -> None:
    """Number, stage, input channels, width, stride, projection."""
    found = [tuple(p) for p in plan(parse("bottleneck: 8x1 16x1 / 16x2"), frozenset({3}))]
    assert found == [
        (0, 0, 8, 8, 1, False),
        (1, 0, 32, 16, 1, False),
        (2, 1, 64, 16, 2, False),
        (3, 1, 64, 16, 1, True),
    ]


def test_a_width_that_does_not_suit_the_block_is_refused() -> None:
    """Groups need channels that can be divided among them."""
    with pytest.raises(UsageError, match="resnext blocks have widths that are multiples of 16, not 24"):
        Backbone(parse("resnext: 24x1"))


@pytest.mark.parametrize("stem", ["pool", "conv"])
def test_a_stem_has_stride_four(stem: str) -> None:
    """Whichever it is."""
    assert build_stem(stem, 8)(torch.randn(1, 3, 64, 96)).shape == (1, 8, 16, 24)


@pytest.mark.parametrize("levels", [1, 2, 6])
def test_the_pyramid_has_a_level_for_every_stage_and_a_pooled_one(levels: int) -> None:
    """All of the same channels, each of the size of its stage."""
    sizes = [max(1, 32 // 2**i) for i in range(levels)]
    features = [torch.randn(1, 4 * (i + 1), size, size) for i, size in enumerate(sizes)]
    out = FPN(tuple(4 * (i + 1) for i in range(levels)), 16)(features)
    assert [level.shape[1:] for level in out] == [(16, s, s) for s in sizes] + [
        (
            16,
            (sizes[-1] + 1) // 2,
        )
        * 1
        + ((sizes[-1] + 1) // 2,)
    ]


def test_a_share_of_one_is_the_pyramid_of_the_paper_and_of_zero_a_cut() -> None:
    """The learned share of a coarser level is the only thing that we add."""
    torch.manual_seed(0)
    fpn = FPN((4, 8), 16)
    features = [torch.randn(1, 4, 8, 8), torch.randn(1, 8, 4, 4)]
    coarse = fpn.lateral[1](features[1])
    fine = fpn.lateral[0](features[0])
    with torch.no_grad():
        up = nn.functional.interpolate(coarse, size=(8, 8), mode="nearest")
        assert torch.equal(fpn(features)[0], fpn.output[0](fine + up))
        fpn.share.zero_()
        assert torch.equal(fpn(features)[0], fpn.output[0](fine))
