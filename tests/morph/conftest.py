"""Small detectors whose weights are not trivial, and their children."""

import itertools
from typing import Any

import msgspec
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from spnas.arch import Arch, Move
from spnas.arch.move import apply_all, origins
from spnas.morph import inherit, kept_projections
from spnas.nets.backbone import Backbone
from spnas.nets.detectors import faster_rcnn
from spnas.nets.proposals import Targets
from spnas.nets.settings import PRESETS

BLOCKS = {"basic": 4, "bottleneck": 4, "resnext": 16}  # the smallest widths that are worth it
SETTINGS = msgspec.structs.replace(PRESETS["small"], fpn_channels=8, hidden=16)


@st.composite
def archs(draw: st.DrawFn, block: str) -> Arch:
    """Draw a net of 2 to 4 stages with one or two doublings, copies or none, and either stem."""
    depths = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4 if block != "resnext" else 3))
    count = sum(depths)
    most = 2 if block != "resnext" else 1
    doublings = draw(st.sets(st.integers(1, count - 1), min_size=1, max_size=most))
    widths = [BLOCKS[block] * 2 ** sum(d <= i for d in doublings) for i in range(count)]
    edges = [0, *itertools.accumulate(depths)]
    copies = tuple(draw(st.sampled_from((0, 0, 0, 1, 2))) for _ in depths)
    stages = tuple(tuple(widths[a:b]) for a, b in itertools.pairwise(edges))
    return Arch(block, stages, copies, draw(st.sampled_from(("pool", "conv"))))


def detector_of(arch: Arch, *, seed: int = 0, projections: frozenset[int] = frozenset(), tied: bool = False) -> Any:
    """Build a detector with fresh weights."""
    torch.manual_seed(seed)
    return faster_rcnn.build(Backbone(arch, projections=projections, tied=tied), classes=3, settings=SETTINGS)


@torch.no_grad()
def stir(net: nn.Module, seed: int = 0) -> Any:
    """Move every weight and statistic of the norms, so that none is one or zero, and leave training mode."""
    rng = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.3, 1.5),
            ):
                tensor.copy_(torch.rand(tensor.shape, generator=rng) * (high - low) + low)
    return net.eval()


def child_of(parent: Any, moves: tuple[Move, ...], *, pictures: Tensor | None = None, seed: int = 1) -> Any:
    """Build the child that `moves` make of a parent, of its precision, and let it inherit."""
    arch = parent.backbone.arch
    from_where = origins(arch, moves)
    young = apply_all(arch, moves)
    kept = kept_projections(parent.backbone, young, from_where)
    child = detector_of(young, seed=seed, projections=kept, tied=parent.backbone.tied)
    child.to(next(parent.parameters()).dtype)
    inherit(child, parent, from_where, pictures=pictures)
    return child.eval()


def pictures_of(side: int = 32, *, count: int = 2, seed: int = 2) -> Tensor:
    """Draw pictures of noise, some of it coarse."""
    rng = torch.Generator().manual_seed(seed)
    fine, coarse = torch.randn(count, 3, side, side, generator=rng), torch.randn(count, 3, 4, 4, generator=rng)
    return fine + 2 * nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")


def pyramid(detector: Any, pictures: Tensor) -> list[Tensor]:
    """Return what the neck puts out, but for the pooled level."""
    found: list[Tensor] = detector.neck(detector.backbone(pictures))
    return found[:-1]


def apart(a: list[Tensor], b: list[Tensor]) -> float:
    """Return the largest difference over the levels that both have, as a share of the largest value there."""
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(a, b, strict=False))


def train(detector: Any, steps: int, *, rate: float = 0.02, side: int = 64) -> dict[str, Tensor]:
    """Train on noise with boxes for a few steps; return the sum of absolute gradients of every parameter."""
    optimizer = torch.optim.SGD(detector.parameters(), lr=rate, momentum=0.9)
    boxes = torch.tensor([[[4.0, 4.0, 40.0, 36.0], [20.0, 10.0, 60.0, 62.0]]]).repeat(4, 1, 1)
    targets = Targets(boxes, torch.tensor([[0, 2]] * 4), torch.zeros(4, 2, dtype=torch.bool))
    sizes = torch.tensor([[side, side]] * 4)
    seen = {name: torch.zeros_like(p) for name, p in detector.named_parameters()}
    detector.train()
    for step in range(steps):
        rng = torch.Generator().manual_seed(step)
        terms = detector.loss(pictures_of(side, count=4, seed=step), targets, sizes, rng)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        for name, p in detector.named_parameters():
            seen[name] += p.grad.abs() if p.grad is not None else 0
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad()
    detector.eval()
    return seen
