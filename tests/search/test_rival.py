import pytest

from spnas.arch import Arch
from spnas.search.rival import CLOSE, MOST_MEASURED, matched, scaled_resnet


def gmacs(arch: Arch) -> float:
    return sum(18e6 * (w / 16) ** 2 / 4**i for i, stage in enumerate(arch.stages) for w in stage) / 1e9


@pytest.mark.parametrize("target", [0.02, 0.05, 0.1, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_the_rival_costs_what_the_finalist_costs(block: str, target: float) -> None:
    rival = scaled_resnet(block, target=target, measure=gmacs, width=16)
    assert abs(gmacs(rival) / target - 1) <= CLOSE
    assert [stage[0] for stage in rival.stages] == [rival.widths[0] * 2**i for i in range(4)]


def test_depth_and_width_grow_together() -> None:
    small, large = (scaled_resnet("basic", target=t, measure=gmacs, width=16) for t in (0.05, 1.0))
    assert large.block_count > small.block_count
    assert large.widths[0] > small.widths[0]


def test_the_cost_of_resnet18_gives_resnet18_back() -> None:
    resnet18 = Arch("basic", ((16,) * 2, (32,) * 2, (64,) * 2, (128,) * 2))
    assert scaled_resnet("basic", target=gmacs(resnet18), measure=gmacs, width=16) == resnet18


def test_where_no_net_is_as_small_it_is_the_smallest() -> None:
    """What is said of it then names both costs (`tasks.finals`)."""
    tiny = scaled_resnet("basic", target=1e-6, measure=gmacs, width=16)
    assert [len(stage) for stage in tiny.stages] == [1, 1, 1, 1]
    assert tiny.widths[0] == 4


def test_where_measuring_is_slow_a_few_nets_are_measured_until_one_fits() -> None:
    asked: list[Arch] = []

    def measure(arch: Arch) -> float:
        asked.append(arch)
        return 3.0 + 40 * gmacs(arch) ** 0.8

    def scaled(target: float) -> Arch:
        return scaled_resnet("basic", target=target, measure=gmacs, width=16)

    rival = matched(25.0, scaled=scaled, measure=measure, start=0.05)
    assert measure(rival) == pytest.approx(25.0, rel=CLOSE)
    assert len(asked) <= MOST_MEASURED + 1


def test_a_target_between_two_nets_gets_the_nearer_one() -> None:
    small, large = Arch("basic", ((16,),) * 4), Arch("basic", ((16,) * 2,) * 4)
    times = {small: 1.0, large: 2.0}
    nearest = matched(1.6, scaled=lambda g: large if g > 1.2 else small, measure=times.__getitem__, start=1.0)
    assert nearest == large
