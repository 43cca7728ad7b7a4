"""`spnas show` and `spnas list archs`: figures and a table a person reads."""

import msgspec
import pytest

from spnas.arch.published import PUBLISHED
from spnas.errors import UsageError
from spnas.nets.cost import cost
from spnas.tasks import catalogue, show
from spnas.tasks.catalogue import describe as describe_list
from spnas.tasks.show import describe


@pytest.mark.parametrize("name", PUBLISHED)
def test_stages_add_up_to_the_whole(name: str) -> None:
    """GMACs at both sizes and parameters, but for rounding to three digits."""
    shown = show(name)
    assert sum(s.gmacs for s in shown.stages) == pytest.approx(shown.gmacs, abs=0.004)
    assert sum(s.gmacs_detecting for s in shown.stages) == pytest.approx(shown.gmacs_detecting, abs=0.004)
    assert sum(s.params for s in shown.stages) == shown.params
    assert sum(count for s in shown.stages for _, count in s.runs) == shown.blocks
    assert shown.name == name


def test_the_table_reads_like_the_papers() -> None:
    """Brackets of convolutions, times how many; a mark per block below; printed figures at the end."""
    text = "\n".join(describe(show("spnet_coco_bnb")))
    for part in (
        "spnet_coco_bnb: bottleneck: 64x4 128x2 / ",
        "code r_111121-111111112-11-",
        "⎡1x1, 64 ⎤",
        "⎢3x3, 64 ⎥ x4",
        "⎣1x1, 256⎦",
        "p2   /4  64 ■■■■ 128 ■■",
        "p6  /64  512 ■■■■■■■■■■■■\n",
        "prints 9.5 GMAC at 224x224; counted 9.46 (-0.4 %)",
        "COCO with fpn as printed: AP 41.8, AP50 63.4, AP small 25.8, fps 11.5",
        "ECP with fpn as printed: LAMR 0.06",
    ):
        assert part in text
    assert all(len(line) <= 150 for line in describe(show("spnet_coco_bnb")))


def test_groups_copies_and_a_misprint_are_shown() -> None:
    """XB's blocks have 32 groups, its parallel net copies, and its printed cost does not fit."""
    text = "\n".join(describe(show("spnet_coco_xb_parallel")))
    assert "3x3, 512, 32 groups⎥ x25" in text
    assert "+ 2 copies" in text
    assert "+ 1 copy\n" in text
    assert "counted 9.06 (does not fit)" in "\n".join(describe(show("spnet_coco_xb")))


def test_any_architecture_can_be_shown() -> None:
    """Also one that has no name and no code, or that is published under another way to say it."""
    shown = show("basic conv: 16x1 / 24x1")
    assert (shown.name, shown.code, shown.paper) == ("", "", "")
    assert "3x3 conv, 3x3 conv" in "\n".join(describe(shown))
    assert show("r_111-2111-211111-211").name == "resnet50"
    with pytest.raises(UsageError, match="did you mean 'resnet50'"):
        show("resnet5O")


def test_the_json_keeps_what_is_known_and_leaves_out_what_is_not() -> None:
    """No empty name, no printed figure that nobody printed."""
    found = msgspec.json.decode(msgspec.json.encode(show("basic: 16x1 / 24x1")))
    assert found.keys() == {
        "arch", "id", "blocks", "gmacs", "gmacs_detecting", "params", "stem", "convolutions", "stages"}  # fmt: skip


def test_the_list_flags_the_two_cells_that_do_not_fit() -> None:
    """With how far off they are; a person sees an exclamation mark and the reason."""
    entries = {entry.name: entry for entry in catalogue("archs")}
    assert [name for name, entry in entries.items() if entry.flagged] == ["spnet_coco_xb", "resnet101"]
    assert entries["spnet_coco_xb"].off_percent == pytest.approx(2.9, abs=0.3)
    assert abs(entries["spnet_voc_bb"].off_percent) < 1
    assert entries["resnet50"].gmacs == round(cost(PUBLISHED["resnet50"].arch).gmacs, 3)
    lines = describe_list(catalogue("archs"))
    assert sum("(printed: 8.8!)" in line or "(printed: 4.1!)" in line for line in lines) == 2


def test_names_that_say_little_come_with_what_they_mean() -> None:
    for kind in ("parts", "presets", "phases", "recipes"):
        entries = catalogue(kind)  # type: ignore[arg-type]
        assert all(entry.meaning for entry in entries)
        for entry, line in zip(entries, describe_list(entries), strict=True):
            assert line.split(maxsplit=1) == [entry.name, entry.meaning]
