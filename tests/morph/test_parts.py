"""The mathematics of a start, by itself: links, the choice of channels, ridge regression."""

import pytest
import torch
from torch import nn

from spnas.morph.choose import Moments, Need, choose, gain_of, moments_of, reading, unknown
from spnas.morph.link import Link, first, follow, matrix
from spnas.morph.ridge import refit


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_that_follows_a_link_reads_the_same(groups: int) -> None:
    """Over any linear reading within groups, new channels left out of account."""
    young = torch.randn(2, 16, 5, 5, generator=_rng(1)).double()
    blocks = [torch.randn(2, 4, generator=_rng(i)).double() for i in range(4)]
    read = torch.block_diag(*blocks) if groups == 4 else torch.randn(8, 16, generator=_rng(2)).double()
    old = torch.einsum("pc,nchw->nphw", read, young)
    weight = torch.randn(12, 8 // groups, 3, 3, generator=_rng(3)).double()
    link = Link(torch.arange(8), torch.arange(8), 16, 8, read, None)
    followed, offset = follow(weight, link, groups=groups)
    assert torch.allclose(
        nn.functional.conv2d(young, followed, padding=1, groups=groups),
        nn.functional.conv2d(old, weight, padding=1, groups=groups),
    )
    assert not offset.any()


def test_an_offset_of_what_is_read_is_made_up_for() -> None:
    """On the average, and away from borders exactly."""
    young, lost = torch.randn(1, 2, 5, 5, generator=_rng()).double(), torch.tensor([0.5, -2.0, 3.0]).double()
    read = torch.randn(3, 2, generator=_rng(1)).double()
    old = torch.einsum("pc,nchw->nphw", read, young) + lost[:, None, None]
    weight = torch.randn(4, 3, 3, 3, generator=_rng(2)).double()
    followed, offset = follow(weight, Link(torch.arange(2), torch.arange(2), 2, 3, read, lost))
    now, then = nn.functional.conv2d(young, followed), nn.functional.conv2d(old, weight)
    assert torch.allclose(now + offset[:, None, None], then)


def test_the_first_channels_of_every_group_pair() -> None:
    """Growing from 4 to 8 channels in 2 groups."""
    link = first(8, 4, groups=2)
    assert link.child.tolist() == [0, 1, 4, 5]
    assert link.parent.tolist() == [0, 1, 2, 3]
    assert matrix(link, torch.zeros(())).sum(1).tolist() == [1, 1, 1, 1]


def test_channels_that_nobody_reads_and_copies_of_others_are_not_kept() -> None:
    """Channel 3 repeats channel 0, channel 2 is read with a weight of zero."""
    x = torch.randn(4, 5, 8, 8, generator=_rng()).double()
    x[:, 3] = x[:, 0]
    weight = torch.ones(3, 5, 1, 1)
    weight[:, 2] = 0
    kept = choose([Need(moments_of(x), gain_of(weight, torch.ones(3)))], 3)
    assert sorted({0 if k == 3 else k for k in kept.tolist()}) == [0, 1, 4]


@pytest.mark.parametrize("keep", [4, 8, 12])
def test_as_many_channels_are_kept_in_every_group(keep: int) -> None:
    """However unlike the groups are."""
    x = torch.randn(4, 16, 6, 6, generator=_rng()) * torch.linspace(0.01, 10, 16)[:, None, None]
    gain = gain_of(torch.randn(16, 4, 3, 3, generator=_rng(1)), torch.ones(16), groups=4)
    kept = choose([Need(moments_of(x), gain)], keep, groups=4)
    assert torch.bincount(kept // 4, minlength=4).tolist() == [keep // 4] * 4
    assert kept.tolist() == sorted(set(kept.tolist()))


def test_without_pictures_the_weights_alone_decide() -> None:
    """The channels that are read with the largest weights."""
    weight = torch.tensor([1.0, 5.0, 2.0, 4.0]).reshape(1, 4, 1, 1)
    assert choose([Need(unknown(4), torch.diag(gain_of(weight, torch.ones(1)).diagonal()))], 2).tolist() == [1, 3]


def test_lost_channels_are_read_from_those_that_determine_them() -> None:
    """Up to the ridge; kept ones are read as they are."""
    kept_channels = torch.randn(8, 3, 6, 6, generator=_rng()).double()
    mixed = torch.einsum("pc,nchw->nphw", torch.randn(2, 3, generator=_rng(1)).double(), kept_channels) + 1
    x = torch.cat((kept_channels, mixed), 1)
    fitted, offset = reading(torch.arange(3), moments_of(x))
    told = torch.einsum("pc,nchw->nphw", fitted, kept_channels) + offset[:, None, None]
    assert torch.equal(fitted[:3], torch.eye(3).double())
    assert float((told - x).square().mean() / x.square().mean()) < 1e-3


def test_moments_are_those_of_numpy() -> None:
    """Mean and covariance over pictures and places."""
    x = torch.randn(3, 4, 5, 6, generator=_rng()).double()
    flat = x.transpose(0, 1).flatten(1)
    found = moments_of(x)
    assert isinstance(found, Moments)
    assert torch.allclose(found.covariance, torch.cov(flat, correction=0))
    assert torch.allclose(found.mean, flat.mean(1))


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 4), (1, 2, 1)])
def test_a_refit_finds_the_convolution_that_was_meant(kernel: int, stride: int, groups: int) -> None:
    """From what it misses, in the units of the BN that follows, looked at in every second row and column."""
    torch.manual_seed(0)
    make = (8, 8, kernel, stride, kernel // 2)
    meant = nn.Conv2d(*make, groups=groups, bias=False).double()
    conv = nn.Conv2d(*make, groups=groups, bias=False).double()
    x, scale = torch.randn(8, 8, 24, 24).double(), torch.linspace(0.5, 2, 8).double()
    missed = (meant(x) + 3 - conv(x)) * scale[:, None, None]
    offset = refit(conv, x, missed[..., ::2, ::2], scale=scale, step=2)
    assert offset is not None
    assert torch.allclose(conv.weight, meant.weight, atol=1e-2)
    assert torch.allclose(offset, torch.full((8,), 3.0).double(), atol=1e-2)


@torch.no_grad()
def test_a_refit_leaves_alone_what_cannot_be_told() -> None:
    """Noise that has nothing to do with the input: on pictures held out, no fit helps."""
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 4, 3, padding=1, bias=False)
    before = conv.weight.clone()
    noise = torch.randn(8, 4, 6, 6)
    noise -= noise.mean((0, 2, 3), keepdim=True)
    assert refit(conv, torch.randn(8, 8, 6, 6), noise, scale=torch.ones(4)) is None
    assert torch.equal(conv.weight, before)
    assert refit(conv, torch.randn(1, 8, 6, 6), noise[:1], scale=torch.ones(4)) is None, "one picture is too few"
