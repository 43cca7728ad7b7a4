import msgspec
import pytest

from spnas.errors import UsageError
from spnas.search.rules import PARTS, PRESETS, Rules, rules_of


@pytest.mark.parametrize("part", PARTS)
def test_leaving_a_part_out_leaves_out_nothing_else(part: str) -> None:
    whole, less = msgspec.to_builtins(rules_of("plus")), msgspec.to_builtins(rules_of("plus", (part,)))
    assert {name for name in whole if whole[name] != less[name]} == {part}


def test_the_paper_has_none_of_our_parts_but_the_twin_and_the_release_none_at_all() -> None:
    assert all(getattr(PRESETS["plus"], part) for part in PARTS)
    assert [part for part in PARTS if getattr(PRESETS["paper"], part)] == ["twin"]
    assert not any(getattr(PRESETS["vega-v1"], part) for part in PARTS)
    assert [name for name, rules in PRESETS.items() if rules.released] == ["vega-v1"]


def test_unknown_presets_and_parts_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--preset 'pluss'.*plus"):
        rules_of("pluss")
    with pytest.raises(UsageError, match=r"--without 'rung'.*rungs"):
        rules_of("plus", ("rung",))
    with pytest.raises(UsageError, match="--without 'released'"):
        rules_of("vega-v1", ("released",))


def test_rules_of_a_later_version_are_not_read_as_ours() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(b'{"guess": true}', type=Rules)
