"""Settings written before a field was there are read as they were meant."""

import msgspec
import pytest

from spnas.nets.settings import CASCADE, PRESETS, DetectorSettings

LATER = {"cascade", "cascade_by_class", "tower_depth"}


@pytest.mark.parametrize("name", PRESETS)
def test_settings_of_the_first_version_are_read_with_the_defaults_of_what_came_later(name: str) -> None:
    written = {k: v for k, v in msgspec.to_builtins(PRESETS[name]).items() if k not in LATER}
    assert len(written) == 13
    read = msgspec.json.decode(msgspec.json.encode(written), type=DetectorSettings)
    assert msgspec.structs.replace(read, tower_depth=PRESETS[name].tower_depth) == PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_settings_come_back_as_they_were_written(name: str) -> None:
    assert msgspec.json.decode(msgspec.json.encode(PRESETS[name]), type=DetectorSettings) == PRESETS[name]


def test_the_cascade_is_that_of_its_paper() -> None:
    assert [stage.overlap for stage in CASCADE] == [0.5, 0.6, 0.7]
    assert [stage.loss_weight for stage in CASCADE] == [1, 0.5, 0.25]
    assert [tuple(1 / w for w in stage.code_weights) for stage in CASCADE] == [
        pytest.approx((0.1 / k, 0.1 / k, 0.2 / k, 0.2 / k)) for k in (1, 2, 3)
    ]


def test_a_cascade_without_stages_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="length >= 1"):
        msgspec.json.decode(b'{"cascade": []}', type=DetectorSettings)
