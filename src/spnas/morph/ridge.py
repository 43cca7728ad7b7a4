"""Ridge regression of a convolution's weights, pulled towards those it has.

How hard they are pulled is settled on pictures that the fit has not seen; where no fit helps there, none is made.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PULLS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of the mean variance of an input
HELD_OUT = 4  # every fourth picture
MOST_ROWS = 16_384  # positions that are looked at
MOST_INPUTS = 2304  # of one output; beyond, a fit costs more than it is worth


def refit(conv: nn.Conv2d, x: Tensor, missed: Tensor, *, scale: Tensor, step: int = 1) -> Tensor | None:
    """Change the weights of `conv` so that x (N, C, H, W), its output times `scale` (O,), gives more nearly what it
    gives now plus `missed` (N, O, h, w); return the offsets (O,) the output lacks then, None where no fit helps.

    step: the output is looked at in every `step`-th row and column only.
    """
    groups, inputs = conv.groups, conv.weight[0].numel()
    if len(x) < 2 or inputs > MOST_INPUTS:
        return None
    rows, targets = _pairs(conv, x, missed, step)
    held = torch.arange(len(x)) % HELD_OUT == HELD_OUT - 1 if len(x) >= HELD_OUT else torch.arange(len(x)) == 1
    pull = _best_pull(rows, targets, held)
    if pull is None:
        return None
    weight, offset = _solve(_sums(rows.flatten(1, 2), targets.flatten(1, 2)), pull)
    change = weight.mT.reshape(groups * weight.shape[2], *conv.weight.shape[1:])
    conv.weight += (change / scale.double()[:, None, None, None]).to(conv.weight)
    return (offset.flatten() / scale).to(conv.weight)


def _pairs(conv: nn.Conv2d, x: Tensor, missed: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Return what every position reads (groups, N, L, I) and misses (groups, N, L, O / groups)."""
    kernel, stride, pad = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    padded = F.pad(x, (pad, pad, pad, pad))
    height, width = missed.shape[-2:]
    spots = torch.arange(height * width)
    most = max(1, MOST_ROWS // len(x))
    if len(spots) > most:
        spots = torch.linspace(0, len(spots) - 1, most).long()
    top, left = spots // width * stride * step, spots % width * stride * step
    taps = torch.arange(kernel)
    patches = padded[:, :, (top[:, None] + taps)[:, :, None], (left[:, None] + taps)[:, None, :]]  # (N, C, L, k, k)
    spotted = missed.flatten(2)[..., spots]  # (N, O, L)
    read = patches.reshape(len(x), conv.groups, -1, *patches.shape[2:]).permute(1, 0, 3, 2, 4, 5).flatten(3)
    wanted = spotted.reshape(len(x), conv.groups, -1, len(spots)).permute(1, 0, 3, 2)
    return read.double(), wanted.double()


def _best_pull(rows: Tensor, targets: Tensor, held: Tensor) -> float | None:
    """Return the pull that does best on held-out pictures, None where leaving the weights alone does."""
    sums = _sums(rows[:, ~held].flatten(1, 2), targets[:, ~held].flatten(1, 2))
    unseen, truth = rows[:, held].flatten(1, 2), targets[:, held].flatten(1, 2)
    best, least = None, float(truth.square().mean())
    for pull in PULLS:
        weight, offset = _solve(sums, pull)
        error = float((unseen @ weight + offset - truth).square().mean())
        if error < least:
            best, least = pull, error
    return best


class _Sums(NamedTuple):
    """All that a regression of y on x needs: means (G, 1, I) and (G, 1, O), covariances (G, I, I) and (G, I, O)."""

    mean_x: Tensor
    mean_y: Tensor
    covariance: Tensor
    cross: Tensor


def _sums(x: Tensor, y: Tensor) -> _Sums:
    """Sum up rows x (G, R, I) and targets y (G, R, O)."""
    mean_x, mean_y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    centred = x - mean_x
    return _Sums(mean_x, mean_y, centred.mT @ centred / x.shape[1], centred.mT @ (y - mean_y) / x.shape[1])


def _solve(sums: _Sums, pull: float) -> tuple[Tensor, Tensor]:
    """Return weights (G, I, O) and offsets (G, 1, O) of the ridge regression."""
    ridge = pull * sums.covariance.diagonal(dim1=1, dim2=2).mean().clamp(min=1e-12)
    eye = torch.eye(sums.covariance.shape[-1], dtype=sums.covariance.dtype)
    weight = torch.linalg.solve(sums.covariance + ridge * eye, sums.cross)
    return weight, sums.mean_y - sums.mean_x @ weight
