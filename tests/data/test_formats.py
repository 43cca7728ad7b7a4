"""What every format on the shelf must do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spnas.data import formats
from spnas.data.open import open_data
from spnas.data.raw import RawData
from spnas.shelf import members, take

PAIRS = {"bdd": ("car", "bus"), "ecp": ("pedestrian", "rider")}  # whose class lists are fixed


@pytest.fixture
def folders(coco: Any, voc: Any, bdd: Any, ecp: Any, yolo: Any, tmp_path: Path) -> dict[str, Path]:
    builders = {"coco": coco, "voc": voc, "bdd": bdd, "ecp": ecp, "yolo": yolo}
    return {name: build().rename(tmp_path / name) for name, build in builders.items()}


def test_every_format_has_a_folder_here(folders: dict[str, Path]) -> None:
    assert set(folders) == set(members(formats))


@pytest.mark.parametrize("name", members(formats))
def test_a_format_keeps_the_contract(name: str, folders: dict[str, Path]) -> None:
    reader, path = take(formats, name), folders[name]
    assert reader.LAYOUT
    assert [other for other, folder in folders.items() if reader.recognise(folder)] == [name]
    assert not reader.recognise(path / "nothing")
    splits = [reader.usual_split(path, role) for role in ("train", "val")]
    assert splits == ["train", "val"]
    raw = reader.read(path, split=splits[0])
    assert isinstance(raw, RawData)
    assert raw.format == name
    pictures, boxes = len(raw.files), len(raw.owner)
    assert (pictures, boxes) == (4, 8)
    assert raw.stated.shape == (pictures, 2)
    assert raw.numbers.shape == (boxes, 4)
    assert len(raw.labels) == len(raw.flags) == len(raw.box_ids) == boxes
    assert [raw.classes[label] for label in raw.labels.tolist()] == list(PAIRS.get(name, ("cat", "dog"))) * 4
    data = open_data(path)
    assert data.format == name
    assert np.allclose(data.train.boxes, [(5, 4, 15, 12), (30, 20, 50, 32)] * 4, atol=1e-6)
    for spot in (raw.picture_spot(0), raw.box_spot(boxes - 1)):
        assert Path(spot.file).is_file()
        assert spot.where
