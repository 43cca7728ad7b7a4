import pytest

from spnas.errors import UsageError
from spnas.nets import blocks
from spnas.shelf import members, nearest, take


def test_the_members_of_a_shelf_are_its_files() -> None:
    assert members(blocks) == ("basic", "bottleneck", "resnext", "resnext64x4d")
    assert take(blocks, "basic").EXPANSION == 1


def test_a_name_that_is_not_there_leads_to_the_nearest_one_or_to_all() -> None:
    with pytest.raises(UsageError, match="did you mean 'bottleneck'"):
        take(blocks, "bottelneck")
    with pytest.raises(UsageError, match="known: basic, bottleneck"):
        take(blocks, "inception")
    assert nearest("x", ["a", "b"]) == "known: a, b"


def test_only_members_can_be_imported_by_name() -> None:
    with pytest.raises(UsageError, match="there is no"):
        take(blocks, "..errors")
