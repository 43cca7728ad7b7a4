"""What a picture can tell: statistics of new norms and identities, and repairs where a child departs from its parent.

Everything is done during one pass of the child over the pictures, in the order of its layers, so that each repair sees
what the ones before it have left. Where the child does as its parent did, nothing is touched: exact moves stay exact.
"""

from typing import Any

import torch
from torch import Tensor, nn

from spnas.morph.chain import Passage, Record
from spnas.morph.measure import hooked
from spnas.morph.mend import Twin, repair, watch

MOST_PIXELS = 4 << 20  # of all pictures together, so that memory does not depend on their size
TOLERANCE = 1e-3  # a smaller departure, as a share of the standard deviation, is rounding
DEAD = 1e-6  # a channel that varies by less than this share of its usual variance tells nothing

Statistics = tuple[Tensor, Tensor]


def settle(child: Any, parent: Any, record: Record, pictures: Tensor) -> None:
    """Measure on pictures (N, 3, H, W) what the weights alone could not tell."""
    pictures = pictures[: max(2, MOST_PIXELS // (pictures.shape[-1] * pictures.shape[-2]))]
    tied = child.backbone.tied or parent.backbone.tied  # what is run several times has no one input
    laterals = list(zip(child.neck.lateral, parent.neck.lateral, strict=False))
    mends = [] if tied else record.mends
    twins = {} if tied else {twin.young[1]: twin for twin in record.twins}
    passages = {passage.shortcut[1]: passage for passage in record.passages}
    left_alone: set[nn.Module] = {twin.young[1] for twin in record.twins} if tied else set()
    seen: dict[nn.Module, Statistics] = {}
    wanted: dict[nn.Module, Tensor] = {}
    hooks = [twin.old[1].register_forward_pre_hook(_note(seen)) for twin in twins.values()]
    hooks += watch(mends, laterals, wanted)
    with hooked(parent, hooks):
        parent.neck(parent.backbone(pictures))
    norms = [norm for norm in child.backbone.modules() if isinstance(norm, nn.BatchNorm2d)]
    hooks = [
        norm.register_forward_pre_hook(_set_norm(twins.get(norm), passages.get(norm), seen, left_alone))
        for norm in norms
    ]
    hooks += repair(mends, laterals, twins.values(), wanted, left_alone)
    with hooked(child, hooks):
        child.neck(child.backbone(pictures))


def _statistics(x: Tensor) -> Statistics:
    x = x if x.dtype == torch.float64 else x.float()
    return x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)


def _note(seen: dict[nn.Module, Statistics]) -> Any:
    def hook(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[norm] = _statistics(inputs[0])

    return hook


def _set_norm(
    twin: Twin | None, passage: Passage | None, seen: dict[nn.Module, Statistics], left_alone: set[nn.Module]
) -> Any:
    """Make a hook that sets a norm by its input: new channels to what they are, an identity so that it is one, and old
    channels so that what they put out is spread as the parent's was."""

    def hook(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        if norm in left_alone:
            return
        mean, variance = _statistics(inputs[0])
        new = torch.ones(len(mean), dtype=torch.bool)
        if twin is not None:
            new[twin.rows.child] = False
            _match(norm, twin, (mean, variance), seen[twin.old[1]])
        norm.running_mean[new], norm.running_var[new] = mean[new].to(norm.weight), variance[new].to(norm.weight)
        if passage is not None:
            rows = passage.rows
            norm.weight[rows] = (norm.running_var[rows] + norm.eps).sqrt()
            norm.bias[rows] = norm.running_mean[rows] + passage.offset.to(norm.bias)

    return hook


def _match(norm: Any, twin: Twin, now: Statistics, then: Statistics) -> None:
    """The parent's statistics are those of many pictures; of these few, only the difference between the nets counts."""
    former: Any = twin.old[1]
    young, old = twin.rows.child, twin.rows.parent
    mean, variance = now[0][young], now[1][young]
    mean_then, variance_then = then[0][old], then[1][old]
    alive = torch.minimum(variance, variance_then) > DEAD * former.running_var[old]
    shifted = (mean - mean_then).abs() > TOLERANCE * variance_then.sqrt()
    departs = alive & (shifted | ((variance - variance_then).abs() > TOLERANCE * variance_then))
    if not bool(departs.any()):
        return
    scale = torch.where(departs, variance / variance_then, 1.0)
    matched_mean = mean - (mean_then - former.running_mean[old]) * scale.sqrt()
    matched_variance = ((former.running_var[old] + norm.eps) * scale - norm.eps).clamp(min=0)
    norm.running_mean[young] = torch.where(departs, matched_mean.to(norm.weight), norm.running_mean[young])
    norm.running_var[young] = torch.where(departs, matched_variance.to(norm.weight), norm.running_var[young])
