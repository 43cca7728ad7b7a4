"""How fast candidates are proposed inside the band of a budget, and whether all of them are inside it.

Every candidate is new and one move away from one that was proposed before. All are counted again afterwards by
formulas written down here, which share no code with the cost model, and some of them by running whole networks.

    uv run python benchmarks/proposals.py                       # 10,000 candidates: under half a minute on one core
    uv run python benchmarks/proposals.py --root r_111-2111-211111-211 --budget 6GMAC --size 224x224
"""

import argparse
import platform
import sys
import time
from functools import partial

import torch
from torch import nn

from spnas.arch import Arch, Space
from spnas.arch.published import arch_of
from spnas.arch.space import around, why_not
from spnas.config import spend
from spnas.nets.backbone import Backbone
from spnas.rng import rng
from spnas.search.budget import BAND_LOW, Budget, CostOf, parse_budget
from spnas.search.solver import draw_child

RUN_WHOLE = 50
DRAWS = 2000


def propose_many(
    root: Arch, space: Space, budget: Budget, cost: CostOf, *, count: int, seed: int = 0
) -> tuple[list[Arch], int]:
    """Return so many new nets in the band, and how many nets were their parents; each parent is drawn from all nets
    before, and left behind once it has no new child."""
    draw = rng(seed, "proposals")
    found, parents, known = list[Arch](), [root], {root.id}
    used = set[str]()
    while len(found) < count and parents:
        number = int(draw.integers(len(parents)))
        drawn = draw_child(parents[number], draw, space=space, budget=budget, cost=cost, known=known, most_moves=40)
        if drawn is None or not budget.in_band(cost(drawn[0])):
            parents[number] = parents[-1]
            parents.pop()
            continue
        used.add(parents[number].id)
        known.add(drawn[0].id)
        found.append(drawn[0])
        parents.append(drawn[0])
    return found, len(used)


def macs_by_hand(arch: Arch, height: int, width: int) -> int:
    """Count a serial net of basic or bottleneck blocks from the definition of a convolution."""
    w0 = arch.widths[0]
    h, w = -(-height // 2), -(-width // 2)
    total = h * w * w0 * 3 * (49 if arch.stem == "pool" else 9)
    h, w = -(-h // 2), -(-w // 2)
    total += h * w * w0 * w0 * 9 if arch.stem == "conv" else 0
    channels, expansion = w0, 4 if arch.block == "bottleneck" else 1
    for number, stage in enumerate(arch.stages):
        for position, planes in enumerate(stage):
            strided = number > 0 and position == 0
            before = h * w
            h, w = (-(-h // 2), -(-w // 2)) if strided else (h, w)
            out = planes * expansion
            if arch.block == "bottleneck":
                total += before * channels * planes + h * w * planes * (9 * planes + out)
            else:
                total += h * w * 9 * planes * (channels + planes)
            if strided or channels != out:
                total += h * w * channels * out
            channels = out
    return total


def macs_of_a_run(arch: Arch, height: int, width: int) -> int:
    """Count a net as it runs, whole, on no data."""
    total = 0

    def add(conv: nn.Conv2d, _inputs: object, out: torch.Tensor) -> None:
        nonlocal total
        total += out.numel() * conv.kernel_size[0] * conv.kernel_size[1] * conv.in_channels // conv.groups

    with torch.device("meta"), torch.no_grad():
        net = Backbone(arch).eval()
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(add)  # type: ignore[arg-type]
        net(torch.empty(1, 3, height, width))
    return total


def main() -> None:
    """Propose, count again, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", default="basic: 16x2 / 32x2 / 64x2 / 128x2")
    parser.add_argument("--budget", default="0.4GMAC")
    parser.add_argument("--size", default="320x240", help="width x height")
    parser.add_argument("--count", type=int, default=10_000)
    chosen = parser.parse_args()
    width, height = map(int, chosen.size.split("x"))
    root, budget = arch_of(chosen.root), parse_budget(chosen.budget)
    space, cost = around(root), partial(spend, size=(height, width), memory=budget.mib is not None)

    began, working = time.perf_counter(), time.process_time()
    found, parents = propose_many(root, space, budget, cost, count=chosen.count)
    seconds, working = time.perf_counter() - began, time.process_time() - working
    print(f"{platform.machine()}, one thread of {platform.processor() or 'this processor'}; torch {torch.__version__}")
    print(f"budget {budget} at {chosen.size}, root {root.text} ({budget.share(cost(root)):.0%} of it)")
    print(f"{len(found)} new candidates of {parents} parents in {seconds:.1f} s, cold start included")
    print(f"of which this process was working {working:.1f} s: the rest the machine gave to others")

    draw = rng(1, "proposals")
    began = time.perf_counter()
    for _ in range(DRAWS):
        draw_child(found[0], draw, space=space, budget=budget, cost=cost)
    print(f"a further draw from one parent takes {1e6 * (time.perf_counter() - began) / DRAWS:.0f} microseconds")

    outside = sum(why_not(arch, space) is not None for arch in found)
    print(f"different nets: {len({arch.text for arch in found})}, outside of the space: {outside}")
    if budget.gmacs is None:
        return
    shares = [macs_by_hand(arch, height, width) / 1e9 / budget.gmacs for arch in found]
    wrong = sum(not BAND_LOW <= share <= 1 for share in shares)
    whole = sum(
        macs_of_a_run(arch, height, width) != macs_by_hand(arch, height, width)
        for arch in found[:: max(1, len(found) // RUN_WHOLE)]
    )
    print(f"counted by hand: {min(shares):.3f} to {max(shares):.3f} of the budget, {wrong} outside of the band")
    print(f"counted by running some {RUN_WHOLE} of them whole: {whole} differ from the count by hand")
    sys.exit(bool(wrong or whole or outside or len(found) < chosen.count))


if __name__ == "__main__":
    main()
