"""The rival: a ResNet-style net scaled uniformly, in depth and width alike, to the cost of a finalist."""

import math
from collections.abc import Callable, Iterator

from spnas.arch import Arch

SHAPES = {"basic": (2, 2, 2, 2)}  # ResNet-18
USUAL_SHAPE = (3, 4, 6, 3)  # ResNet-50 and ResNeXt-50
CLOSE = 0.05
MOST_MEASURED, MOST_GROWTH = 8, 8.0  # nets that are measured in search of one, and how much larger the next may be
PRICE_OF_ERROR = 10.0  # 1 % off in cost weighs like a tenth of an e-fold between depth and width


def scaled_resnet(
    block: str, *, target: float, measure: Callable[[Arch], float], width: int, width_step: int = 1, stem: str = "pool"
) -> Arch:
    """Return the net of `block`s in four stages that measures within 5 % of `target` (or as near as can be) and whose
    depth and width are scaled most alike, from ResNet-18 or -50 at base `width`.
    """

    def rank(scaled: tuple[float, Arch]) -> tuple[bool, float]:
        depth_scale, arch = scaled
        error = abs(measure(arch) / target - 1)
        unlike = abs(math.log(arch.widths[0] / width) - math.log(depth_scale))
        return error > CLOSE, unlike + PRICE_OF_ERROR * error if error <= CLOSE else error

    return min(_shapes(block, width, width_step, stem), key=rank)[1]


def matched(target: float, *, scaled: Callable[[float], Arch], measure: Callable[[Arch], float], start: float) -> Arch:
    """Return a net that measures within 5 % of `target`, or the nearest of a few, where measuring is slow.

    scaled: makes the net of so many GMACs (see `scaled_resnet`). measure: of a net, in the target's unit; it is asked
    a few times, once a net. start: the GMACs to begin with. What a GMAC measures is taken from the net before.
    """
    gmacs, tried = start, dict[Arch, float]()
    for _ in range(MOST_MEASURED):
        arch = scaled(gmacs)
        if arch in tried:  # what was asked for lies between two nets: the nearer one it is
            break
        tried[arch] = measure(arch)
        if abs(tried[arch] / target - 1) <= CLOSE:
            break
        gmacs *= min(MOST_GROWTH, max(1 / MOST_GROWTH, target / tried[arch]))
    return min(tried, key=lambda arch: abs(math.log(tried[arch] / target)))


def _shapes(block: str, width: int, width_step: int, stem: str) -> Iterator[tuple[float, Arch]]:
    """Yield nets over a grid of depths and widths around the given one, each depth once."""
    shape, known = SHAPES.get(block, USUAL_SHAPE), set()
    step = max(width_step, 1 if width < 32 else 2)
    for eighths in range(1, 49):
        depths = tuple(max(1, round(eighths / 8 * d)) for d in shape)
        if depths in known:
            continue
        known.add(depths)
        scale = sum(depths) / sum(shape)
        least, most = max(step, width // 4 // step * step), 4 * width
        for w in range(least, most + 1, step):
            yield scale, Arch(block, tuple((w * 2**i,) * d for i, d in enumerate(depths)), stem=stem)
