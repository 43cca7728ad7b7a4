"""A list read in pieces is the list read whole, wherever the pieces end, and errors name the place in the file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spnas.data import json_list
from spnas.data.formats import coco as coco_format
from spnas.errors import DataError

from .conftest import coco_document

SIZES = (1, 7, 64, 150, 1000, 4 << 20)


def tricky() -> dict[str, Any]:
    """Annotations full of what looks like the end of one."""
    document = coco_document(8)
    for n, box in enumerate(document["annotations"]):
        box["note"] = 'a "quoted" }, { and }]},{ here'
        box["attributes"] = {"parts": [{"x": 1}, {"y": [{"z": 2}, {}]}], "text": "},{" * n}
    return document


def read(path: Path, text: str) -> Any:
    file = path / "train.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return coco_format.read(file, split=file.name)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("indent", [None, 1])
def test_pieces_make_the_whole(size: int, indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(tricky(), indent=indent)
    whole = read(tmp_path, text)
    assert (len(whole.files), len(whole.owner)) == (8, 16)
    monkeypatch.setattr(json_list, "PIECE", size)
    again = read(tmp_path, text)
    assert (again.files, again.image_ids, again.box_ids) == (whole.files, whole.image_ids, whole.box_ids)
    for column in ("owner", "numbers", "labels", "flags", "areas", "stated"):
        assert np.array_equal(getattr(again, column), getattr(whole, column))


@pytest.mark.parametrize("size", SIZES)
def test_errors_name_their_place(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_list, "PIECE", size)
    good = json.dumps(tricky())
    wrong = good.replace('"id": 12, "image_id"', '"id": [12], "image_id"', 1)
    with pytest.raises(DataError, match=r"annotations\[11\]\.id: Expected .*json-value"):
        read(tmp_path, wrong)
    twice = good.replace('"id": 12, "image_id"', '"id": 12, "id": 13, "image_id"', 1)
    with pytest.raises(DataError, match=r"annotations\[11\]: the key 'id' stands twice"):
        read(tmp_path, twice)
    surrogate = good.replace('"id": 12, "image_id"', r'"id": "\ud800", "image_id"', 1)
    place = surrogate.index(r"\ud800")
    with pytest.raises(DataError, match=r"line 1:\d+ \(byte \d+\).*json-syntax") as caught:
        read(tmp_path, surrogate)
    byte = int(caught.value.where.partition("(byte ")[2].rstrip(")"))
    assert abs(byte - place) <= 8


def test_empty_lists_are_lists(tmp_path: Path) -> None:
    raw = read(tmp_path, '{"images": [], "annotations": [ ], "categories": []}')
    assert (len(raw.files), len(raw.owner), raw.numbers.shape) == (0, 0, (0, 4))
