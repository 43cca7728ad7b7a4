"""Looking at networks at work: in evaluation mode, with hooks that are gone afterwards."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(module: nn.Module, hooks: Iterable[RemovableHandle] = ()) -> Iterator[None]:
    """Put `module` into evaluation mode without gradients, and remove `hooks` at the end."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True
        for hook in hooks:
            hook.remove()


def departure(child: Any, parent: Any, pictures: Tensor) -> float:
    """Return how far the pyramid of `child` is from that of `parent`: the norm of the difference, over all levels of
    the parent's but the pooled one, as a share of the parent's norm."""
    with hooked(child), hooked(parent):
        young, old = child.neck(child.backbone(pictures)), parent.neck(parent.backbone(pictures))[:-1]
    missed = sum(float((a - b).double().square().sum()) for a, b in zip(young, old, strict=False))
    return float((missed / sum(float(b.double().square().sum()) for b in old)) ** 0.5)
