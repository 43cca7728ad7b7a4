"""`spnas.load(MODEL).predict(PICTURES)`, from every kind of source."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.predict.conftest import Painted, paint, painted_model

import spnas
from spnas.data.batches import Pictures, eval_batches
from spnas.data.pictures import read_picture
from spnas.data.records import DataSet
from spnas.errors import DataError, UsageError
from spnas.evaluate.detect import detect
from spnas.predict import Detections, Model
from spnas.runs.folder import RunFolder
from spnas.train.weights import ModelConfig, build, load_model, save_model, write_bundle


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return spnas.load(bundle)


def same(a: Detections, b: Detections) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("boxes", "scores", "labels"))


def test_it_finds_what_evaluation_finds_bit_for_bit(model: Model, bundle: Path, tiny: DataSet) -> None:
    detector, config = load_model(bundle)
    theirs = detect(detector, eval_batches(Pictures(tiny.val, config.resize), batch_size=16))
    ours = model.predict([tiny.val.path(i) for i in range(len(tiny.val))], score=0)
    assert sum(map(len, ours)) == len(theirs.scores) > 0
    for i, found in enumerate(ours):
        rows = theirs.of(i)
        np.testing.assert_array_equal(found.boxes, theirs.boxes[rows])
        np.testing.assert_array_equal(found.scores, theirs.scores[rows])
        np.testing.assert_array_equal(found.labels, theirs.labels[rows])
        assert found.path == str(tiny.val.path(i))
        assert found.size == tuple(tiny.val.sizes[i])


def test_a_picture_no_larger_than_a_tile_is_looked_at_as_without(model: Model, tiny: DataSet) -> None:
    few = [tiny.val.path(i) for i in range(3)]
    assert max(tiny.val.sizes[:3].max(axis=1)) == 64
    for plain, tiled in zip(model.predict(few, score=0), model.predict(few, score=0, tile=64), strict=True):
        assert same(plain, tiled)
    smaller = model.predict(few[0], score=0, tile=48)
    assert not same(model.predict(few[0], score=0), smaller)


def test_scores_below_the_limit_are_left_out(model: Model, tiny: DataSet) -> None:
    everything = model.predict(read_picture(tiny.val.path(0)), score=0)
    middle = float(np.median(everything.scores))
    few = model.predict(read_picture(tiny.val.path(0)), score=middle)
    assert 0 < len(few) < len(everything)
    assert same(few, everything.above(middle))


def test_every_kind_of_source_is_the_same_picture(model: Model, tiny: DataSet) -> None:
    path = tiny.val.path(0)
    with Image.open(path) as opened:
        kinds: list[Any] = [str(path), path, read_picture(path), opened, opened.convert("RGBA")]
        found = [model.predict(kind, score=0) for kind in kinds]
    assert all(isinstance(one, Detections) and same(one, found[0]) for one in found)
    assert [one.path for one in found] == [str(path), str(path), None, None, None]
    assert [len(model.predict([kind], score=0)) for kind in kinds[:3]] == [1, 1, 1]
    assert model.predict([]) == []


def test_a_folder_is_its_pictures_by_name(model: Model, tiny: DataSet, tmp_path: Path) -> None:
    for name, i in (("b.png", 1), ("a.PNG", 0)):
        (tmp_path / name).write_bytes(tiny.val.path(i).read_bytes())
    (tmp_path / "notes.txt").write_text("no picture")
    found = model.predict(tmp_path)
    assert isinstance(found, list)
    assert [Path(one.path or "").name for one in found] == ["a.PNG", "b.png"]
    assert len(model.predict([tmp_path, tiny.val.path(2)])) == 3


@pytest.mark.parametrize("code", range(1, 9))
def test_pictures_are_seen_as_displayed(tmp_path: Path, code: int) -> None:
    """A file with an orientation, and the same as a PIL image, are turned; boxes are those of what a viewer shows."""
    box = np.array([[4, 8, 20, 30]])
    exif = Image.Exif()
    exif[0x0112] = code
    Image.fromarray(paint(box, (60, 40))).save(tmp_path / "a.png", exif=exif)
    model = painted_model(Painted())
    with Image.open(tmp_path / "a.png") as opened:
        found = model.predict(tmp_path / "a.png"), model.predict(opened)
    shown = read_picture(tmp_path / "a.png")
    for one in found:
        assert isinstance(one, Detections)
        assert one.size == ((40, 60) if code >= 5 else (60, 40)) == shown.shape[1::-1]
        x1, y1, x2, y2 = one.boxes[0].astype(int).tolist()
        inside = np.zeros(shown.shape[:2], np.bool_)
        inside[y1:y2, x1:x2] = True
        np.testing.assert_array_equal(shown[:, :, 1] > 200, inside)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (np.zeros((8, 8, 3)), r"the picture: an array of shape \(8, 8, 3\) and type float64; give .*uint8, RGB"),
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"shape \(2, 8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
        ([np.zeros((8, 8, 3), np.uint8), torch.zeros(3, 8, 8)], "picture 1: is of type Tensor; give a path"),
        (7, "the picture: is of type int"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(source: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as fault:
        painted_model(Painted()).predict(source)
    assert "\n" not in str(fault.value)


def test_files_that_are_no_pictures_are_refused_by_name(tmp_path: Path) -> None:
    model = painted_model(Painted())
    with pytest.raises(DataError, match=r"nowhere\.jpg: no such picture"):
        model.predict(tmp_path / "nowhere.jpg")
    with pytest.raises(UsageError, match="no pictures in this folder"):
        model.predict(tmp_path)
    (tmp_path / "a.jpg").write_text("<html>")
    with pytest.raises(DataError, match=r"a\.jpg: .*a web page"):
        model.predict([tmp_path / "a.jpg"])
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:-30])
    with Image.open(tmp_path / "b.png") as opened, pytest.raises(DataError, match=r"b\.png: .*does not decode"):
        model.predict(opened)
    with pytest.raises(DataError, match=r"the picture: pixels of mode F"):
        model.predict(Image.fromarray(np.zeros((8, 8), np.float32)))


def test_pictures_share_batches_with_their_own_size_only() -> None:
    """So that who else is looked at cannot change what is found, and results come in order all the same."""
    network = Painted()
    box = np.array([[1, 2, 9, 12]])
    sizes = [(40, 64), (64, 40), (40, 64), (100, 100), (64, 40), (40, 64)]
    found = painted_model(network).predict([paint(box + i, s) for i, s in enumerate(sizes)], batch_size=2)
    assert [one.boxes.tolist() for one in found] == [(box + i).tolist() for i in range(6)]
    assert [one.size for one in found] == sizes
    assert sorted(network.shapes) == sorted([(2, 3, 64, 64), (2, 3, 64, 64), (1, 3, 128, 128), (1, 3, 64, 64)])
    with pytest.raises(UsageError, match="batch_size 0"):
        painted_model(network).predict(paint(box, (40, 40)), batch_size=0)


def test_pictures_are_read_as_they_are_needed(tmp_path: Path) -> None:
    """The first of many is there before the last is opened: this one is no picture."""
    for i in range(9):
        Image.fromarray(paint(np.array([[1, 2, 9, 12]]), (40, 40))).save(tmp_path / f"{i}.png")
    (tmp_path / "9.png").write_text("no picture")
    stream = painted_model(Painted()).stream(tmp_path, batch_size=2)
    assert [len(next(stream)) for _ in range(7)] == [1] * 7
    with pytest.raises(DataError, match=r"9\.png"):
        list(stream)


def test_tiles_find_what_a_look_at_the_whole_overlooks() -> None:
    """Small objects by tiles, large ones by the whole picture, each once and to the pixel, in batches."""
    rng = np.random.default_rng(5)
    places = [(x, y) for x in range(0, 480, 40) for y in range(120, 400, 40)]
    small = np.array([(x + a, y + b, x + a + w, y + b + h) for (x, y) in places
                      for a, b, w, h in [rng.integers((0, 0, 4, 4), (20, 20, 20, 20)).tolist()]])  # fmt: skip
    boxes = np.concatenate((small, [[10, 5, 450, 110]]))
    picture = paint(boxes, (480, 400))
    network = Painted(keen=128, coarse=60)
    model = painted_model(network)
    assert len(model.predict(picture)) == 1
    network.shapes.clear()
    found = model.predict(picture, tile=(128, 32), batch_size=4)
    assert max(shape[0] for shape in network.shapes) == 4
    assert {shape[2:] for shape in network.shapes} == {(128, 128), (416, 480)}
    got = {tuple(box): label for box, label in zip(found.boxes.tolist(), found.labels.tolist(), strict=True)}
    assert got == {tuple(box): k % 2 for k, box in enumerate(boxes.tolist())}
    assert len(found) == len(boxes)


def test_a_model_is_a_bundle_a_file_or_a_finished_study(bundle: Path, config: ModelConfig, tmp_path: Path) -> None:
    detector = build(config, seed=1)
    save_model(tmp_path / "net.safetensors", detector, config)
    study = RunFolder(tmp_path / "study")
    study.root.mkdir()
    study.begin(b"{}")
    with pytest.raises(UsageError, match="no best model yet"):
        spnas.load(study.root)
    study.publish_best(lambda folder: write_bundle(folder, detector, config))
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    found = [spnas.load(path).predict(picture, score=0) for path in
             (bundle, tmp_path / "net.safetensors", study.root, str(study.best))]  # fmt: skip
    assert len(found[0]) > 0
    assert all(same(one, found[0]) for one in found)
    assert found[0].category_ids == config.category_ids
    assert repr(spnas.load(bundle)).startswith(f"<Model {bundle} for {len(config.classes)} classes: ")
    with pytest.raises(UsageError, match="no such model"):
        spnas.load(tmp_path / "nowhere")


def test_the_page_says_what_works(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of Python in docs/predict.md runs."""
    page = (Path(__file__).parents[2] / "docs" / "predict.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shutil.copytree(bundle, tmp_path / "runs" / "mine")
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "street.jpg")
    monkeypatch.chdir(tmp_path)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/predict.md", "exec"), {})
    assert (tmp_path / "drawn.png").exists()
