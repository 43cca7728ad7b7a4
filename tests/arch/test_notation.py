import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spnas.arch import Arch, parse
from spnas.arch.notation import to_code
from spnas.errors import UsageError

CODES = [
    "r_111-2111-211111-211_0-0-0-0",
    "b_112-1111-2111111111-2111-1-1111_0-0-0-0-0-0",
    "r_11121111-21111-112-1111-1111_0-0-0-0-0",
    "x(32x4d)_1111-21111-2111111111111111111111111-211-1_1-0-2-1-2",
]

archs = st.builds(
    Arch,
    block=st.sampled_from(["basic", "bottleneck", "resnext"]),
    stages=st.lists(st.lists(st.integers(1, 2048), min_size=1, max_size=9).map(tuple), min_size=1, max_size=6).map(
        tuple
    ),
    stem=st.sampled_from(["pool", "conv"]),
).flatmap(
    lambda arch: st.tuples(*[st.integers(0, 3)] * len(arch.stages)).map(
        lambda copies: Arch(arch.block, arch.stages, copies, arch.stem)
    )
)


@given(archs)
def test_the_text_of_any_architecture_parses_back_to_it(arch: Arch) -> None:
    assert parse(arch.text) == arch


@pytest.mark.parametrize("code", CODES)
def test_codes_of_the_authors_parse_and_print_back(code: str) -> None:
    assert to_code(parse(code)) == code


def test_the_code_of_resnet50_is_resnet50() -> None:
    assert parse("r_111-2111-211111-211").text == "bottleneck: 64x3 / 128x4 / 256x6 / 512x3"


def test_both_notations_say_the_same_of_the_coco_net() -> None:
    text = "bottleneck: 64x4 128x2 / 128x8 256x1 / 256x2 / 256x17 512x1 / 512x12 / 512x1"
    code = "r_111121-111111112-11-111111111111111112-111111111111-1"
    assert parse(code) == parse(text)


@pytest.mark.parametrize(
    "arch",
    ["basic: 16x2 / 32x2", "bottleneck conv: 64x2 / 128x2", "basic: 64x2 / 192x1"],
)
def test_what_the_code_cannot_say_is_refused_not_bent(arch: str) -> None:
    with pytest.raises(UsageError, match="use the text notation"):
        to_code(parse(arch))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("resnet", "not understood"),
        ("basic 64x2", "not understood"),
        ("basic: ", "a stage without blocks"),
        ("basic: 64x2 // 64x2", "a stage without blocks"),
        ("basic: 64y2", "'64y2' is not WIDTHxCOUNT"),
        ("basic: 64x0", "counts no block"),
        ("basic: 64x999", "more than 400 blocks"),
        ("basic deep: 64x2", "before the colon"),
        ("basic: 64x2 + 1,2", "after the plus"),
        ("basic: 64x2 / 64x2 + 1", "1 numbers of copies for 2 stages"),
        ("r_211-1", "cannot begin with 2"),
        ("basic: " + "64x1 " * 1000, "at most 2000 are read"),
    ],
)
def test_what_is_not_understood_is_said_in_one_line_and_at_once(text: str, reason: str) -> None:
    began = time.perf_counter()
    with pytest.raises(UsageError, match=reason) as fault:
        parse(text)
    assert "\n" not in str(fault.value)
    assert time.perf_counter() - began < 0.1
