"""`spnas predict`: what lies in the folder afterwards, and what is never written over."""

import json
import os
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from spnas.cli.options import print_result
from spnas.data.open import open_data
from spnas.data.records import DataSet
from spnas.data.transforms import Resize
from spnas.errors import DataError, UsageError
from spnas.nets.settings import PRESETS
from spnas.predict import load
from spnas.tasks import evaluate, predict
from spnas.tasks.overwrite import refuse_other_file
from spnas.tasks.predict import describe
from spnas.train.weights import ModelConfig, build, write_bundle


@pytest.fixture(scope="module")
def bundle(tiny: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    config = ModelConfig(
        detector="faster_rcnn",
        arch="basic: 8x1 / 16x1 / 32x1 / 64x1",
        classes=tiny.val.classes,
        category_ids=tuple(f"c{i}" for i in range(len(tiny.val.classes))),
        settings=msgspec.structs.replace(PRESETS["small"], most_detections=5),
        resize=Resize(None, 64),
    )
    write_bundle(folder, build(config, seed=1), config)
    return folder


@pytest.fixture
def photos(tiny: DataSet, tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        (folder / f"{'abc'[i]}.png").write_bytes(tiny.val.path(i).read_bytes())
    return folder


def test_results_are_what_the_model_finds_in_each_picture(bundle: Path, photos: Path, tmp_path: Path) -> None:
    result = predict([photos], model=bundle, out=tmp_path / "out", score=0.9)
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    expected = [row for one in load(bundle).predict(photos, score=0) for row in one.to_coco(one.path or "")]
    assert rows == expected
    assert {row["image_id"] for row in rows} == {str(photos / name) for name in ("a.png", "b.png", "c.png")}
    assert {row["category_id"] for row in rows} <= {f"c{i}" for i in range(9)}
    assert (result.pictures, result.detections, result.earlier) == (3, len(rows), 0)
    drawn = sorted(p.stem for p in (tmp_path / "out").iterdir() if p.name != "results.json")
    assert drawn == ["00000-a", "00001-b", "00002-c"]
    assert describe(result)[0] == f"{len(rows)} detections in 3 pictures, {result.drawn} of at least {result.score:g}"
    assert result.drawn == sum(row["score"] >= result.score for row in rows)


def test_pictures_of_data_have_its_ids(bundle: Path, tiny: DataSet, tiny_folder: Path, tmp_path: Path) -> None:
    predict([], model=bundle, data=tiny_folder, out=tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["image_id"] for row in rows} == set(tiny.val.image_ids)
    assert {row["category_id"] for row in rows} <= set(tiny.val.category_ids)


def test_boxes_lie_where_those_of_the_data_lie(bundle: Path, stored_folder: Path, tmp_path: Path) -> None:
    predict([], model=bundle, data=stored_folder, out=tmp_path / "out")
    known = open_data(stored_folder).val
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    own = load(bundle).predict([known.path(i) for i in range(len(known))], score=0)
    x1, y1, x2, y2 = np.concatenate([one.boxes for one in own]).T
    assert len(rows) > 0
    np.testing.assert_allclose([row["bbox"] for row in rows], np.stack((y1, 48 - x2, y2 - y1, x2 - x1), 1), atol=2e-3)


def test_data_may_list_the_models_classes_in_another_order(bundle: Path, tiny_folder: Path, tmp_path: Path) -> None:
    """What is found and how it is judged stay the same; other classes are refused."""
    other, results = tmp_path / "other", []
    shutil.copytree(tiny_folder, other)
    for path in (other / "annotations").iterdir():
        document = json.loads(path.read_text())
        document["categories"].reverse()
        path.write_text(json.dumps(document))
    for place, data in ((tmp_path / "a", tiny_folder), (tmp_path / "b", other)):
        predict([], model=bundle, data=data, out=place)
        judged = evaluate(bundle, data=data, results=tmp_path / f"{place.name}.json")
        files = (place / "results.json", tmp_path / f"{place.name}.json")
        results.append((judged.scores["coco"].values, judged.scores["coco"].per_class, *(f.read_text() for f in files)))
    assert repr(results[0]) == repr(results[1])
    for path in (other / "annotations").iterdir():
        path.write_text(path.read_text().replace("circle", "disc"))
    with pytest.raises(DataError, match=r"data has .*disc, model .* has circle.*\[classes-differ\]"):
        predict([], model=bundle, data=other, out=tmp_path / "c")


def test_names_that_are_no_utf8_are_written_as_escapes(
    bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, out = photos / os.fsdecode(b"caf\xe9.png"), tmp_path / os.fsdecode(b"yo\xe9")
    (photos / "a.png").rename(picture)
    result = predict([picture], model=bundle, out=out)
    rows = json.loads((out / "results.json").read_text())
    assert {row["image_id"] for row in rows} == {str(photos / r"caf\udce9.png")}
    assert result.folder == str(out)
    print_result(result, describe, json=True)
    assert json.loads(capsys.readouterr().out)["folder"] == str(tmp_path / r"yo\udce9")


def test_long_names_are_cut_and_stay_apart(bundle: Path, photos: Path, tmp_path: Path) -> None:
    """A name has as many bytes as a file system takes; the number in front tells two of one beginning apart."""
    for letter in "ab":
        (photos / f"{letter}.png").rename(photos / f"{chr(0x1F600) * 62}{letter}.png")
    assert predict([photos], model=bundle, out=tmp_path / "out").pictures == 3
    drawn = sorted(p.stem for p in (tmp_path / "out").iterdir() if p.name != "results.json")
    assert drawn == ["00000-c", *(f"0000{i}-{chr(0x1F600) * 30}" for i in (1, 2))]


def test_tiles_are_looked_at(bundle: Path, photos: Path, tmp_path: Path) -> None:
    predict([photos], model=bundle, out=tmp_path / "whole")
    predict([photos], model=bundle, out=tmp_path / "tiled", tile=(32, 8))
    predict([photos], model=bundle, out=tmp_path / "large", tile=64)
    whole, tiled, large = ((tmp_path / n / "results.json").read_bytes() for n in ("whole", "tiled", "large"))
    assert whole == large != tiled


def test_the_folder_of_an_earlier_run_is_written_over(bundle: Path, photos: Path, tmp_path: Path) -> None:
    """Pictures that this run does not draw stay, and are counted."""
    out = tmp_path / "out"
    predict([photos], model=bundle, out=out)
    before = {p.name for p in out.iterdir()}
    twin = next(p for p in out.iterdir() if p.stem == "00000-a")
    twin.rename(twin.with_suffix(".jpg" if twin.suffix == ".png" else ".png"))
    result = predict([photos / "a.png"], model=bundle, out=out)
    assert {p.name for p in out.iterdir()} == before
    assert result.earlier == 2
    assert any("2 of an earlier run" in line for line in describe(result))
    assert {row["image_id"] for row in json.loads((out / "results.json").read_text())} == {str(photos / "a.png")}


@pytest.mark.parametrize(
    "theirs",
    [
        {"holiday.jpg": b"x"},
        {"results.json": b'{"accuracy": 0.5}'},
        {"00001-left.png": b"x"},  # looks like ours, with nothing of ours beside it
        {"results.json": b"[]", "notes.txt": b"x"},
    ],
)
def test_a_folder_of_something_else_is_left_alone(
    bundle: Path, photos: Path, tmp_path: Path, theirs: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, data in theirs.items():
        (out / name).write_bytes(data)
    with pytest.raises(UsageError, match=r"--out .*did not write; give a new or empty folder"):
        predict([photos], model=bundle, out=out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == theirs


def test_pictures_are_never_written_among_those_looked_at(bundle: Path, photos: Path) -> None:
    with pytest.raises(UsageError, match=r"holds 'a\.png'"):
        predict([photos], model=bundle, out=photos)


def test_an_unreadable_picture_is_named_before_anything_is_written(bundle: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "d.png").write_text("no picture")
    with pytest.raises(DataError, match=r"d\.png"):
        predict([photos], model=bundle, out=tmp_path / "out")
    with pytest.raises(UsageError, match="no pictures to look at"):
        predict([], model=bundle, out=tmp_path / "out")
    with pytest.raises(UsageError, match="not both"):
        predict([photos], model=bundle, data=photos, out=tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="a file of that name"):
        predict([photos], model=bundle, out=tmp_path / "file")
    assert not (tmp_path / "out").exists()


def test_only_detections_are_written_over(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    refuse_other_file(file, "--results")
    row = b'[{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}]'
    for ours in (b"", b"[]", row):
        file.write_bytes(ours)
        refuse_other_file(file, "--results")
    for other in (b"\xff\xd8", b'{"images": []}', b"[1]", row[:-1]):
        file.write_bytes(other)
        with pytest.raises(UsageError, match=r"--results .*r\.json: is there already and holds no detections"):
            refuse_other_file(file, "--results")
    with pytest.raises(UsageError, match="is a folder"):
        refuse_other_file(tmp_path, "--results")
