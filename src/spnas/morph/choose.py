"""Which channels to keep where a tensor becomes narrower, and how the lost ones are told from those.

Source: in the spirit of ThiNet (Luo et al., ICCV 2017) and of channel pruning (He et al., ICCV 2017): keep what the
consumers need. We differ: the choice is greedy on the covariance alone, so that one pass over pictures is enough.
"""

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor

MOST_ROUNDS = 128  # channels are chosen in so many rounds at most
RIDGE = 1e-2  # of the mean variance of the kept channels


class Moments(NamedTuple):
    """Mean (C,) and covariance (C, C) of the channels of a tensor, both float64."""

    mean: Tensor
    covariance: Tensor


class Need(NamedTuple):
    """A tensor of C channels and how much its consumers make of them: `gain` (C, C) is the sum of their W^T W."""

    moments: Moments
    gain: Tensor


def moments_of(x: Tensor) -> Moments:
    """Measure the channels of (N, C, H, W)."""
    rows = x.detach().transpose(0, 1).flatten(1).double()
    mean = rows.mean(1)
    centred = rows - mean[:, None]
    return Moments(mean, centred @ centred.T / rows.shape[1])


def unknown(channels: int) -> Moments:
    """Return what stands for moments where no picture was given: channels alike and unrelated."""
    return Moments(torch.zeros(channels).double(), torch.eye(channels).double())


def gain_of(weight: Tensor, scale: Tensor, *, groups: int = 1) -> Tensor:
    """Return (C, C): how much a convolution, followed by a BN of this scale, makes of its input channels."""
    out, per_group = weight.shape[:2]
    cut = (weight.double() * scale.double().reshape(-1, 1, 1, 1)).reshape(groups, out // groups, per_group, -1)
    within = torch.einsum("goit,gojt->gij", cut, cut)
    return _diagonal(within)


def choose(needs: Iterable[Need], keep: int, *, groups: int = 1) -> Tensor:
    """Choose `keep` channels, as many in every group, whose linear span leaves the consumers least to miss -> (K,)."""
    residues = [_residue(need, groups) for need in needs]
    channels = residues[0].left.shape[0]
    group = torch.arange(channels) // (channels // groups)
    quota = torch.full((groups,), keep // groups)
    chosen = torch.zeros(channels, dtype=torch.bool)
    while (missing := keep - int(chosen.sum())) > 0:
        score = torch.stack([_explained(residue) for residue in residues]).sum(0)
        score.masked_fill_(chosen | (quota[group] == 0), -torch.inf)
        best = score.topk(min(max(1, keep // MOST_ROUNDS), missing)).indices
        earlier = (group[best][:, None] == group[best]).tril(-1).sum(1)  # of the same group, and better
        taken = best[earlier < quota[group[best]]]
        chosen[taken] = True
        quota -= torch.bincount(group[taken], minlength=groups)
        for residue in residues:
            _explain(residue, taken)
    return chosen.nonzero()[:, 0]


class _Residue(NamedTuple):
    """What the channels chosen so far do not explain: `left` is that covariance, `missed` the gain times it."""

    left: Tensor
    missed: Tensor
    floor: Tensor


def _residue(need: Need, groups: int) -> _Residue:
    left = _within_groups(need.moments.covariance, groups)
    missed = need.gain @ left
    missed /= missed.diagonal().sum().clamp(min=1e-30)  # tensors count alike
    return _Residue(left, missed, 1e-9 * left.diagonal().mean().clamp(min=1e-30))


def _explained(residue: _Residue) -> Tensor:
    """Return (C,): how much of what is missed a channel would explain."""
    return (residue.left * residue.missed).sum(0) / residue.left.diagonal().clamp(min=residue.floor)


def _explain(residue: _Residue, taken: Tensor) -> None:
    """Take away, in place, what these channels explain."""
    own = residue.left[taken][:, taken] + residue.floor * torch.eye(len(taken)).double()
    share = torch.linalg.solve(own, residue.left[taken])
    residue.missed.sub_(residue.missed[:, taken] @ share)
    residue.left.sub_(residue.left[:, taken] @ share)


def reading(kept: Tensor, moments: Moments, *, groups: int = 1) -> tuple[Tensor, Tensor]:
    """Fit every channel to the kept ones by ridge regression, within groups -> (C, K) and offsets (C,)."""
    covariance = _within_groups(moments.covariance, groups)
    inner = covariance[kept][:, kept]
    ridge = RIDGE * inner.diagonal().mean().clamp(min=1e-12)
    fitted = torch.linalg.solve(inner + ridge * torch.eye(len(kept)).double(), covariance[kept]).T.contiguous()
    fitted[kept] = torch.eye(len(kept)).double()
    return fitted, moments.mean - fitted @ moments.mean[kept]


def _within_groups(covariance: Tensor, groups: int) -> Tensor:
    size = covariance.shape[0] // groups
    return _diagonal([covariance[i : i + size, i : i + size] for i in range(0, size * groups, size)])


def _diagonal(blocks: Iterable[Tensor]) -> Tensor:
    return cast(Tensor, torch.block_diag(*blocks))  # type: ignore[no-untyped-call]
