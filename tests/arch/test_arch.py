import msgspec
import pytest

from spnas.arch import Arch, Candidate, Move, parse
from spnas.arch.arch import from_chain

RESNET18 = Arch("basic", ((64, 64), (128, 128), (256, 256), (512, 512)))


def test_the_text_reads_like_the_papers_table() -> None:
    arch = Arch("bottleneck", ((64, 64, 128), (128,)), copies=(0, 2), stem="conv")
    assert arch.text == "bottleneck conv: 64x2 128x1 / 128x1 + 0-2"


def test_an_id_is_the_same_everywhere_and_for_ever() -> None:
    assert RESNET18.id == "bdbdd459c3"
    assert parse(RESNET18.text).id == RESNET18.id


def test_no_copies_at_all_are_a_serial_net() -> None:
    assert Arch("basic", ((64,), (64,)), copies=(0, 0)) == Arch("basic", ((64,), (64,)))


def test_boundaries_and_doublings_are_told_by_block_number() -> None:
    arch = parse("basic: 64x2 128x1 / 128x4 / 256x10")
    assert arch.starts == (3, 7)
    assert arch.doublings == (2, 7)
    assert from_chain("basic", arch.widths, arch.starts) == arch


@pytest.mark.parametrize(
    ("stages", "options", "reason"),
    [
        ((), {}, "at least one stage"),
        (((64,), ()), {}, "at least one block"),
        (((64,),) * 9, {}, "at most 8 stages"),
        (((64,) * 401,), {}, "at most 8 stages and 400 blocks"),
        (((0,),), {}, "widths must lie in"),
        (((64,),), {"stem": "patch"}, "stem 'patch'"),
        (((64,),), {"copies": (1, 1)}, "2 numbers of copies for 1 stages"),
        (((64,),), {"copies": (9,)}, "copies of a stage"),
    ],
)
def test_what_is_no_network_is_refused_before_anything_is_built(
    stages: tuple[tuple[int, ...], ...], options: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Arch("basic", stages, **options)  # type: ignore[arg-type]


def test_records_survive_json() -> None:
    candidate = Candidate(
        number=3, role="child", arch=RESNET18, steps=50, seed=0, parent=0, moves=(Move("swap-boundary", 1, -2),)
    )
    assert msgspec.json.decode(msgspec.json.encode(candidate), type=Candidate) == candidate


def test_json_is_checked_like_the_constructor() -> None:
    with pytest.raises(msgspec.ValidationError, match="widths must lie in"):
        msgspec.json.decode(b'{"block": "basic", "stages": [[99999]]}', type=Arch)
