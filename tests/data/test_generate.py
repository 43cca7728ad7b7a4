"""The generated data are the same for the same settings, truthful, and never half written."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from spnas.data import generate as generating
from spnas.data.generate import STAMP, GeneratorSettings, draw_picture, generate
from spnas.data.open import generated_folder, open_data
from spnas.data.pictures import read_picture
from spnas.data.shapes import CLASSES, mask
from spnas.errors import DataError, ResourceError, UsageError
from spnas.rng import rng

FEW = GeneratorSettings(train=6, val=3)


def test_the_same_settings_give_the_same_bytes(tmp_path: Path, snapshot: Any) -> None:
    for name in ("a", "b"):
        generate(tmp_path / name, FEW)
    ours, theirs = ([v[1] for _, v in sorted(snapshot(tmp_path / n).items())] for n in ("a", "b"))
    assert ours == theirs
    assert len(ours) == 6 + 3 + 2 + 1


def test_a_complete_folder_is_kept_and_a_damaged_one_made_again(tmp_path: Path, snapshot: Any) -> None:
    folder = tmp_path / "a"
    generate(folder, FEW)
    before = snapshot(folder)
    generate(folder, FEW)
    assert snapshot(folder) == before
    (folder / "train" / "000001.png").write_bytes(b"broken")
    generate(folder, FEW)
    assert {k: v[1] for k, v in snapshot(folder).items()} == {k: v[1] for k, v in before.items()}


def test_other_settings_replace_generated_data_only(tmp_path: Path) -> None:
    generate(tmp_path / "a", FEW)
    generate(tmp_path / "a", msgspec.structs.replace(FEW, seed=1))
    assert json.loads((tmp_path / "a" / STAMP).read_bytes())["settings"]["seed"] == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("precious")
    with pytest.raises(DataError, match="holds files that were not generated"):
        generate(tmp_path / "mine", FEW)
    assert os.listdir(tmp_path / "mine") == ["work.txt"]


def test_nothing_is_left_of_a_run_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(generating.os, "rename", full)
    with pytest.raises(ResourceError, match="cannot be written: No space"):
        generate(tmp_path / "a", FEW)
    assert os.listdir(tmp_path) == []


def test_a_faster_process_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(tmp_path / "other", FEW)
    real = os.rename

    def late(source: Path, target: Path) -> None:
        if not target.exists():
            real(tmp_path / "other", target)
        real(source, target)

    monkeypatch.setattr(generating.os, "rename", late)
    generate(tmp_path / "a", FEW)
    assert sorted(os.listdir(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"train": 0},
        {"side_px": 16},
        {"size_px": (4, 20)},
        {"size_px": (40, 20)},
        {"size_px": (14, 96)},
        {"objects": (3, 1)},
        {"objects": (0, 0)},
        {"crowding": 1.5},
        {"noise": -1.0},
        {"classes": ()},
        {"classes": ("circle", "circle")},
        {"classes": ("dragon",)},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"generated data: {next(iter(wrong))}"):
        generate(tmp_path / "a", msgspec.structs.replace(FEW, **wrong))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("size", [10.0, 31.5])
def test_a_shape_fills_the_size_that_was_asked_for(kind: str, size: float) -> None:
    solid = mask(kind, size, angle=0.3) >= 0.5
    longer = max(np.ptp(np.flatnonzero(solid.any(axis=axis))) + 1 for axis in (0, 1))
    assert abs(longer - size) <= 2


@pytest.mark.parametrize("crowding", [0.0, 1.0])
def test_boxes_lie_inside_and_overlap_only_when_crowded(crowding: float) -> None:
    settings = msgspec.structs.replace(FEW, crowding=crowding, objects=(6, 8), classes=CLASSES)
    overlaps = 0
    for index in range(8):
        picture, drawn = draw_picture(settings, rng(3, "test", index=index))
        assert picture.shape == (96, 96, 3)
        boxes = np.array([d.box for d in drawn])
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= 96).all()
        assert all(d.area >= 0.1 * d.box[2] * d.box[3] for d in drawn)
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        ends = boxes[:, :2] + boxes[:, 2:]
        shared = np.clip(np.minimum(ends[:, None], ends[None]) - low, 0, None).prod(axis=2)
        overlaps += int((shared > 0.05 * boxes[:, 2:].prod(axis=1)).sum()) - len(boxes)
    assert (overlaps > 0) == (crowding > 0)


def test_generated_data_open_like_any_other(tmp_path: Path) -> None:
    data = open_data(None, generated=FEW, cache=tmp_path)
    assert (len(data.train), len(data.val), data.format) == (6, 3, "coco")
    assert data.train.classes == FEW.classes
    assert data.reports[0].counts == {}
    assert read_picture(data.train.path(0)).shape == (96, 96, 3)
    assert data.fingerprint == open_data(None, generated=FEW, cache=tmp_path).fingerprint
    assert data.train.path(0).is_relative_to(generated_folder(FEW, tmp_path))


def test_the_cache_follows_the_users_wish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert generated_folder(FEW).parent == tmp_path / "spnas" / "generated"
    assert generated_folder(FEW) != generated_folder(msgspec.structs.replace(FEW, seed=1))
