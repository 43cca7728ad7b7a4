"""Moves: each one that is offered can be made, keeps the family of nets, and says which block was which."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spnas.arch import Arch, Move, parse
from spnas.arch.arch import HARD_LIMIT_COPIES, HARD_LIMIT_STAGES
from spnas.arch.move import KINDS, PARALLEL, SERIAL, SHRINKING, apply, apply_all, keeps_function, neighbours, origins
from spnas.arch.notation import to_code
from spnas.arch.space import around, why_not
from spnas.errors import UsageError

RESNET50 = parse("r_111-2111-211111-211")
SPNET = parse("b_112-1111-2111111111-2111-1-1111")


@st.composite
def archs(draw: st.DrawFn, *, copies: bool = True) -> Arch:
    """Draw a net of the paper's family: 1-6 stages, doublings anywhere, copies or none."""
    depths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    count = sum(depths)
    doublings = draw(st.sets(st.integers(1, count - 1), max_size=4)) if count > 1 else set()
    width = draw(st.sampled_from((16, 64)))
    widths = [width * 2 ** sum(d <= i for d in doublings) for i in range(count)]
    edges = [0, *itertools.accumulate(depths)]
    number = st.integers(0, 3) if copies else st.just(0)
    return Arch(
        draw(st.sampled_from(("basic", "bottleneck", "resnext"))),
        tuple(tuple(widths[a:b]) for a, b in itertools.pairwise(edges)),
        tuple(draw(number) for _ in depths),
        draw(st.sampled_from(("pool", "conv"))),
    )


@given(archs())
def test_every_neighbour_can_be_made_and_leads_elsewhere(arch: Arch) -> None:
    """What is offered is possible, changes something, and is not offered twice."""
    moves = list(neighbours(arch, kinds=KINDS))
    children = [apply(arch, move) for move in moves]
    assert all(child.id != arch.id for child in children)
    assert len(moves) == len(set(moves))
    others = [child.id for move, child in zip(moves, children, strict=True) if move.kind != "narrow"]
    assert len(others) == len(set(others)), "only `narrow` may lead where a swap leads"


@given(archs(), st.data())
def test_the_family_is_closed_under_moves(arch: Arch, data: st.DataObject) -> None:
    """After any moves a net still doubles as often, and starts as wide, so only the counts of its space can be left."""
    space = msgspec.structs.replace(
        around(arch), min_stages=1, max_stages=HARD_LIMIT_STAGES, min_blocks=1, max_blocks=400, max_copies=8
    )
    assert why_not(arch, space) is None
    for _ in range(4):
        moves = list(neighbours(arch, kinds=KINDS))
        if not moves:
            break
        arch = apply(arch, data.draw(st.sampled_from(moves)))
        assert why_not(arch, space) is None


@given(archs(), st.data())
def test_notations_and_json_bring_back_every_child(arch: Arch, data: st.DataObject) -> None:
    """Text, authors' code and JSON are three ways to write one value."""
    moves = list(neighbours(arch, kinds=KINDS))
    move = data.draw(st.sampled_from(moves))
    child = apply(arch, move)
    assert parse(child.text) == child
    assert msgspec.json.decode(msgspec.json.encode(child), type=Arch) == child
    assert msgspec.json.decode(msgspec.json.encode(move), type=Move) == move
    if child.stem == "pool" and child.widths[0] == 64:
        assert parse(to_code(child)) == child


@given(archs(), st.data())
def test_origins_name_every_old_block_once_and_in_order(arch: Arch, data: st.DataObject) -> None:
    """As many entries as the child has blocks; new ones are as many as were added; the rest keep their order."""
    moves: tuple[Move, ...] = ()
    child = arch
    for _ in range(3):
        possible = list(neighbours(child, kinds=KINDS))
        if not possible:
            break
        moves = (*moves, data.draw(st.sampled_from(possible)))
        child = apply(child, moves[-1])
    found = origins(arch, moves)
    old = [o for o in found if o is not None]
    assert len(found) == child.block_count
    assert old == sorted(set(old))
    removed = sum(m.kind == "remove-block" for m in moves)
    added = sum(m.by if m.kind == "expand-block" else m.kind == "expand-stage" for m in moves)
    assert child.block_count == arch.block_count + added - removed


@pytest.mark.parametrize(
    ("move", "text", "from_where"),
    [
        (Move("swap-boundary", 1, 1), "basic: 16x2 32x1 / 32x1 / 64x2 + 0-1-2", (0, 1, 2, 3, 4, 5)),
        (Move("swap-boundary", 2, -1), "basic: 16x2 / 32x1 / 32x1 64x2 + 0-1-2", (0, 1, 2, 3, 4, 5)),
        (Move("swap-doubling", 0, -1), "basic: 16x1 32x1 / 32x2 / 64x2 + 0-1-2", (0, 1, 2, 3, 4, 5)),
        (Move("swap-doubling", 1, 1), "basic: 16x2 / 32x2 / 32x1 64x1 + 0-1-2", (0, 1, 2, 3, 4, 5)),
        (Move("expand-block", 1, 2), "basic: 16x4 / 32x2 / 64x2 + 0-1-2", (0, 1, None, None, 2, 3, 4, 5)),
        (Move("expand-stage"), "basic: 16x2 / 32x2 / 64x2 / 64x1 + 0-1-2-0", (0, 1, 2, 3, 4, 5, None)),
        (Move("remove-block", 3), "basic: 16x2 / 32x1 / 64x2 + 0-1-2", (0, 1, 2, 4, 5)),
        (Move("narrow", 0), "basic: 16x2 / 16x1 32x1 / 64x2 + 0-1-2", (0, 1, 2, 3, 4, 5)),
        (Move("narrow", 1), "basic: 16x2 / 32x2 / 32x1 64x1 + 0-1-2", (0, 1, 2, 3, 4, 5)),
        (Move("add-copy", 0), "basic: 16x2 / 32x2 / 64x2 + 1-1-2", (0, 1, 2, 3, 4, 5)),
        (Move("remove-copy", 1), "basic: 16x2 / 32x2 / 64x2 + 0-0-2", (0, 1, 2, 3, 4, 5)),
    ],
    ids=str,
)
def test_a_move_does_what_it_says(move: Move, text: str, from_where: tuple[int | None, ...]) -> None:
    """One example of every kind."""
    arch = parse("basic: 16x2 / 32x2 / 64x2 + 0-1-2")
    assert apply(arch, move).text == text
    assert origins(arch, (move,)) == from_where


@pytest.mark.parametrize(
    "move",
    [
        Move("swap-boundary", 1, -3),
        Move("swap-boundary", 0, 1),
        Move("swap-boundary", 1, 0),
        Move("swap-doubling", 0, -3),
        Move("swap-doubling", 3, 1),
        Move("swap-doubling", 0, 0),
        Move("expand-block", 16, 1),
        Move("expand-block", 0, 3),
        Move("expand-stage", 1),
        Move("remove-block", 16),
        Move("remove-block", 0, 1),
        Move("narrow", 3),
        Move("narrow", 0, 1),
        Move("add-copy", 4),
        Move("add-copy", 0, 1),
        Move("remove-copy", 0),
    ],
    ids=str,
)
def test_a_move_that_cannot_be_made_is_refused(move: Move) -> None:
    """The reason names the move and the net."""
    with pytest.raises(UsageError, match="cannot make the move"):
        apply(RESNET50, move)


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    """Whoever mistypes a kind reads them all."""
    with pytest.raises(UsageError, match=r"'split' is not one of swap-boundary.*remove-copy"):
        apply(RESNET50, Move("split"))


def test_moves_stop_at_the_hard_limits() -> None:
    """At a limit a move is not offered, where it would have failed in the making."""
    stages = Arch("basic", ((16,),) * HARD_LIMIT_STAGES)
    blocks = Arch("basic", ((16,) * 400,))
    copies = Arch("basic", ((16,), (16,)), (HARD_LIMIT_COPIES, 0))
    assert Move("expand-stage") not in set(neighbours(stages))
    assert {m.kind for m in neighbours(blocks)} == set()
    assert list(neighbours(copies, kinds=("add-copy",))) == [Move("add-copy", 1)]


def test_neither_a_stage_nor_a_width_is_removed_with_its_last_block() -> None:
    """A removal that changed the number of stages or doublings would leave the space."""
    arch = parse("basic: 16x1 32x1 / 64x1 / 64x3")
    assert list(neighbours(arch, kinds=("remove-block",))) == [Move("remove-block", 5)]


def test_narrow_stops_before_the_next_doubling_and_at_the_end_of_its_stage() -> None:
    """A stage is narrowed, not the one after it, and every width is left at least one block."""
    assert apply(RESNET50, Move("narrow", 1)).text == "bottleneck: 64x3 / 128x4 / 128x5 256x1 / 512x3"
    assert apply(SPNET, Move("narrow", 0)).text == "basic: 64x3 / 128x4 / 256x10 / 512x4 / 512x1 / 512x4"


def test_the_moves_offered_by_default_are_those_of_the_serial_phase() -> None:
    """A search that does not ask for more proposes what it always did, in the same order."""
    kinds = [m.kind for m in neighbours(RESNET50)]
    assert list(dict.fromkeys(kinds)) == list(SERIAL)
    assert len(kinds) == 41
    assert set(KINDS) == {*SERIAL, *SHRINKING, *PARALLEL}


@given(archs())
def test_copies_come_and_go(arch: Arch) -> None:
    """Adding a copy and removing it leads back."""
    for move in neighbours(arch, kinds=("add-copy",)):
        assert apply_all(arch, (move, Move("remove-copy", move.at))) == arch


def test_what_keeps_the_function() -> None:
    """Growth does, what moves or shrinks does not; a copy does unless the next stage's copies look at it."""
    arch = parse("basic: 16x2 / 32x2 / 64x2 + 0-0-1")
    exact = {str(m) for m in neighbours(arch, kinds=KINDS) if keeps_function(arch, m)}
    assert exact == {
        "width doubling 1 moves 1 block earlier",
        "width doubling 2 moves 1 block earlier",
        *(f"{n} new after block {b}" for n in (1, 2) for b in (2, 4, 6)),
        "a stage appended",
        *(f"a copy of stage {s} added" for s in (1, 2, 3)),
    }
    assert not keeps_function(parse("basic: 16x2 / 32x2 / 64x2 + 1-0-1"), Move("add-copy", 1))
    assert not keeps_function(parse("basic: 16x2 / 32x2 / 64x2 + 0-1-2"), Move("add-copy", 1))


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("r_111-2111-211111-211", "d406d9fced"),
        ("basic: 16x2 / 32x2 / 64x2 / 128x2", "73912752ff"),
        ("resnext conv: 64x4 / 128x5 / 256x25 / 512x3 / 512x1 + 1-0-2-1-2", "c6ec1a0761"),
    ],
)
def test_ids_are_the_same_today_and_tomorrow(text: str, identity: str) -> None:
    """Ids are written into studies, so they may never change."""
    assert parse(text).id == identity


@given(archs(), archs())
def test_ids_tell_architectures_apart(a: Arch, b: Arch) -> None:
    """Equal values have equal ids, others have not."""
    assert (a.id == b.id) == (a == b)
