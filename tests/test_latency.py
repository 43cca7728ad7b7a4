"""The latency table on clocks that are made up, where the right answer is known, and once on the real one."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from spnas.arch import Arch, parse
from spnas.arch.move import apply, neighbours
from spnas.arch.space import around, why_not
from spnas.config import QUICK, rival_of, search_settings, spend
from spnas.errors import UsageError
from spnas.latency import LEAST_NETS, LatencyTable, fit, pieces_of, predictor, sample, table_for
from spnas.nets.backbone import Backbone
from spnas.nets.pieces import Piece, Size, blocks_of, build, lay_out
from spnas.nets.timing import Place, this_place, time_all
from spnas.rng import rng
from spnas.search.budget import Budget, Spent
from spnas.search.solver import BOTH_WAYS

SIZE = (96, 128)
ROOT = parse("basic: 8x2 / 16x2 / 32x2 / 64x2")
SPACE = around(ROOT)
PLACE = Place(device="cpu", name="made up", threads=1, precision="fp32", torch="0")


def cost_of(arch: Arch) -> Spent:
    return spend(arch, size=SIZE)


def pieces_in(arch: Arch) -> list[Piece]:
    layout = lay_out(arch, SIZE)
    return [layout.stem, *(p for stage in layout.stages for p, times in blocks_of(stage) for _ in range(times))]


def piece_ms(piece: Piece) -> float:
    return 0.01 + piece.in_channels * piece.width * piece.size[0] * piece.size[1] / 4e6


def clock(*, overhead: float = 0.3, slower: float = 1.1, noise: float = 0.0) -> Callable[..., list[float]]:
    """A machine on which a whole net takes `overhead`, and `slower` times its blocks, with some noise."""
    luck = rng(0, "clock")

    def measure(things: Sequence[Piece | Arch], size: Size, _place: Place) -> list[float]:
        assert size == SIZE
        exact = [
            overhead + slower * sum(map(piece_ms, pieces_in(t))) if isinstance(t, Arch) else piece_ms(t) for t in things
        ]
        return [ms * float(np.exp(noise * luck.standard_normal())) for ms in exact]

    return measure


def whole(arch: Arch) -> float:
    return clock()([arch], SIZE, PLACE)[0]


def make(store: Path, milliseconds: float = 2 * whole(ROOT), **options: object) -> LatencyTable:
    options = {"measure": clock(), "place": PLACE} | options
    return table_for(ROOT, SPACE, SIZE, milliseconds=milliseconds, cost=cost_of, store=store, **options)  # type: ignore[arg-type]


def walk(steps: int) -> list[Arch]:
    draw, arch, found = rng(3, "walk"), ROOT, []
    while len(found) < steps:
        moves = list(neighbours(arch, kinds=BOTH_WAYS))
        child = apply(arch, moves[int(draw.integers(len(moves)))])
        if why_not(child, SPACE) is None:
            arch = child
            found.append(arch)
    return found


def test_the_table_tells_the_time_of_any_net_of_the_space(tmp_path: Path) -> None:
    table = make(tmp_path / "latency.json")
    assert (table.offset, table.scale) == pytest.approx((0.3, 1.1))
    assert table.nets >= LEAST_NETS
    assert table.error < 1e-9
    predict = predictor(table)
    for arch in walk(200):
        assert predict(arch) == pytest.approx(whole(arch))
    assert "off by 0.0% on average" in str(table)


def test_all_blocks_of_a_space_are_in_its_table() -> None:
    known = set(pieces_of(SPACE, SIZE))
    assert {piece for arch in walk(500) for piece in pieces_in(arch)} <= known
    assert len({piece.text for piece in known}) == len(known)


def test_a_net_of_other_blocks_is_refused(tmp_path: Path) -> None:
    predict = predictor(make(tmp_path / "latency.json"))
    with pytest.raises(ValueError, match="a block that the latency table lacks"):
        predict(parse("basic: 8x2 / 24x2 / 32x2 / 64x2"))


def test_a_table_is_timed_once_for_a_place_a_size_and_about_the_same_budget(tmp_path: Path) -> None:
    store = tmp_path / "cache" / "latency.json"
    first = make(store)

    def never(*_: object) -> list[float]:
        raise AssertionError("timed again")

    assert make(store, measure=never) == first
    assert make(store, 2.02 * whole(ROOT), measure=never) == first
    for change in ({"threads": 2}, {"precision": "bf16"}, {"name": "another"}, {"torch": "1"}):
        with pytest.raises(AssertionError, match="timed again"):
            make(store, measure=never, place=msgspec.structs.replace(PLACE, **change))
    store.write_text("{damaged")
    assert make(store) == first


def test_a_table_that_is_off_by_more_than_a_tenth_is_refused_and_not_kept(tmp_path: Path) -> None:
    store = tmp_path / "latency.json"
    with pytest.raises(UsageError, match=r"off by \d+% on average, more than 10%; let nothing else run"):
        make(store, measure=clock(noise=0.3))
    assert not store.exists()


def test_some_noise_is_told_as_the_error_that_it_makes(tmp_path: Path) -> None:
    table = make(tmp_path / "latency.json", measure=clock(noise=0.03))
    assert 0.005 < table.error < 0.06
    assert table.worst >= table.error


def test_a_machine_that_was_busy_for_a_moment_gets_a_second_chance(tmp_path: Path) -> None:
    noisy, quiet, calls = clock(noise=0.6), clock(), []

    def measure(things: Sequence[Piece | Arch], size: Size, place: Place) -> list[float]:
        calls.append(len(things))
        slower = [
            1 + abs(a / b - 1) for a, b in zip(noisy(things, size, place), quiet(things, size, place), strict=True)
        ]
        times = quiet(things, size, place)
        return [t * s for t, s in zip(times, slower, strict=True)] if len(calls) == 2 else times

    assert make(tmp_path / "latency.json", measure=measure).error < 1e-9
    assert len(calls) == 3


def test_the_error_is_that_of_nets_held_out() -> None:
    sums, times = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 6.0, 12.0])
    offset, scale, errors = fit(sums, times)
    assert errors[3] == pytest.approx(1 / 3)  # the others say 8, it took 12
    assert abs((offset + scale * 4) / 12 - 1) < errors[3]


def test_nets_to_fit_to_are_different_inside_the_space_and_spread_over_the_range() -> None:
    base = cost_of(ROOT).gmacs
    nets = sample(ROOT, SPACE, cost_of, base, 3 * base)
    assert LEAST_NETS <= len(set(nets)) == len(nets)
    assert all(why_not(net, SPACE) is None for net in nets)
    sizes = [cost_of(net).gmacs / base for net in nets]
    assert min(sizes) < 1.3
    assert max(sizes) > 2.5


def test_too_few_nets_of_the_right_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too few to check a latency table with"):
        make(tmp_path / "latency.json", milliseconds=0.4)


def test_a_root_is_found_at_six_tenths_of_a_budget_in_any_unit() -> None:
    compose = partial(search_settings, recipe_name="small", size=SIZE, root=None, plan=QUICK, seed=0, time=whole_small)
    for budget in (Budget(milliseconds=9.0), Budget(mib=8.0), Budget(gmacs=0.1), Budget(gmacs=0.2, milliseconds=6.0)):
        found = compose(budget=budget)
        spent = spend(found.root, size=SIZE, milliseconds=whole_small, memory=True)
        assert budget.share(spent) == pytest.approx(0.6, rel=0.06)


def whole_small(arch: Arch) -> float:
    """Twice as slow per block where widths are no multiples of 8, as on some machines."""
    odd = 1.5 if arch.widths[0] % 8 else 1.0
    return 0.3 + odd * sum(map(piece_ms, pieces_in(arch)))


def test_a_root_over_the_budget_is_refused_with_what_it_costs() -> None:
    with pytest.raises(UsageError, match=r"costs .* GMAC, .*M params, .* ms at 128x96, more than --budget 0.5 ms"):
        search_settings(
            recipe_name="small",
            size=SIZE,
            budget=Budget(milliseconds=0.5),
            root=ROOT.text,
            plan=QUICK,
            seed=0,
            time=whole,
        )


def test_the_rival_is_matched_in_milliseconds_or_in_gmacs() -> None:
    arch = parse("basic: 16x5 / 32x1 / 64x1 / 128x1")
    by_time = rival_of(arch, SIZE, 16, whole_small)
    assert whole_small(by_time) == pytest.approx(whole_small(arch), rel=0.06)
    by_gmacs = rival_of(arch, SIZE, 16)
    assert cost_of(by_gmacs).gmacs == pytest.approx(cost_of(arch).gmacs, rel=0.06)


def test_a_piece_stands_for_a_part_of_the_net() -> None:
    """The modules of the pieces have the weights of the whole, copies and all."""
    for text in ("basic: 8x2 / 16x2", "bottleneck conv: 8x1 16x1 / 16x2 + 1-2"):
        layout = lay_out(parse(text), SIZE)
        counts = [sum(p.numel() for p in build(layout.stem).parameters())]
        for number, stage in enumerate(layout.stages):
            blocks = sum(n * sum(p.numel() for p in build(piece).parameters()) for piece, n in blocks_of(stage))
            extra = [(n, sum(p.numel() for p in build(f).parameters())) for s, n, f in layout.copies if s == number]
            counts.append(blocks + sum(n * (blocks + one) for n, one in extra))
        assert sum(counts) == sum(p.numel() for p in Backbone(parse(text)).parameters())


def test_real_forward_passes_are_timed() -> None:
    """How long they take is nobody's business here."""
    place = this_place("cpu", "fp32")
    times = time_all([*pieces_of(SPACE, SIZE)[:3], ROOT], SIZE, place)
    assert len(times) == 4
    assert all(0 < ms < 60_000 for ms in times)
    assert "1 thread, fp32" in str(place)
    assert msgspec.json.decode(msgspec.json.encode(place), type=Place) == place
