"""`spnas export`: a detector that was trained here goes out, and finds elsewhere what it found here."""

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spnas
from spnas import tasks
from spnas.cli import app, main
from spnas.errors import IntegrityError, UsageError
from spnas.export.description import read_sealed
from spnas.tasks import export_onnx as room
from spnas.tasks.export import describe

STEPS = 240


@pytest.fixture(scope="module")
def model(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small detector that has learned to find something."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    small = {"recipe": "small", "image_size": 64, "batch_size": 8, "threads": 1}
    done = tasks.train("basic: 16x1 / 32x1", data=tiny_folder, out=folder, steps=STEPS, **small)
    return Path(done.model)


@pytest.fixture(scope="module")
def exported(model: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, room.OnnxResult]:
    """The file, and what was said about it."""
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    result = tasks.export(model, to="onnx", out=file, data=tiny_folder)
    assert isinstance(result, room.OnnxResult)
    return file, result


def test_an_export_says_how_it_was_judged(exported: tuple[Path, room.OnnxResult], model: Path) -> None:
    """All of val, its detections one to one, and AP with and without torch."""
    file, result = exported
    assert (result.drift.pictures, result.drift.lost, result.drift.extra) == (12, 0, 0)
    assert result.drift.matched > 12
    assert result.ap_onnx == pytest.approx(result.ap_torch, abs=0.001)
    assert (result.width, result.height) == (64, 64)
    assert any(line.startswith("the same as torch on 12 pictures of") for line in describe(result))
    _, description = read_sealed(file)
    config = msgspec.json.decode((model / "config.json").read_bytes())
    assert list(description.classes) == config["classes"]
    assert list(description.category_ids) == config["category_ids"]
    assert (description.arch, description.detector, description.long) == (config["arch"], "faster_rcnn", 64)
    assert description.producer


def test_predictions_are_the_same_and_need_no_torch(
    exported: tuple[Path, room.OnnxResult], model: Path, tiny_folder: Path
) -> None:
    """In another process, in which torch never comes in."""
    pictures = sorted((tiny_folder / "val").iterdir())[:4]
    names = [str(path) for path in pictures]
    program = f"""
import sys, spnas
for found in spnas.load({str(exported[0])!r}).predict({names!r}, score=0.3):
    for one in found:
        print(one.label, one.score, *one.box)
sys.exit("torch was loaded" if "torch" in sys.modules else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [[float(word) for word in line.split()] for line in done.stdout.splitlines()]
    ours = [one for found in spnas.load(model).predict(names, score=0.3) for one in found]
    wanted = [[one.label, one.score, *one.box] for one in ours]
    assert len(wanted) > 4
    np.testing.assert_allclose(sorted(rows), sorted(wanted), atol=0.01)


def test_the_command_predicts_with_the_file(
    exported: tuple[Path, room.OnnxResult], tiny_folder: Path, tmp_path: Path
) -> None:
    """Drawn pictures and results, with the ids of the data."""
    picture = next((tiny_folder / "val").iterdir())
    words = ["predict", str(picture), "--model", str(exported[0]), "--out", str(tmp_path / "out"), "--quiet"]
    app(words, standalone_mode=False)
    results = msgspec.json.decode((tmp_path / "out" / "results.json").read_bytes())
    assert {row["category_id"] for row in results} <= {1, 2, 3}
    assert len(list((tmp_path / "out").glob("00000-*"))) == 1


def test_a_graph_that_drifts_is_not_handed_over(
    exported: tuple[Path, room.OnnxResult],
    model: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One weight of it is changed: exit code 5, one line with numbers, no file; the one from before stays."""
    graph = onnx.load(exported[0])
    del graph.metadata_props[:]
    weight = next(w for w in graph.graph.initializer if w.name.endswith("head.of.hidden2.weight"))
    values = numpy_helper.to_array(weight).copy()
    values[np.unravel_index(np.abs(values).argmax(), values.shape)] *= -4
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    monkeypatch.setattr(room, "graph_of", lambda *_, **__: graph.SerializeToString())
    out = tmp_path / "new.onnx"
    words = ["spnas", "export", str(model), "--to", "onnx", "--out", str(out), "--data", str(tiny_folder), "--quiet"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("spnas: error: new.onnx: the graph does not find what the detector finds (")
    assert "detections in 12 pictures" in line
    assert list(tmp_path.iterdir()) == []


def test_without_data_generated_pictures_are_looked_at(
    exported: tuple[Path, room.OnnxResult], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no truth for this detector, so there is no AP."""
    data, description = read_sealed(exported[0])
    monkeypatch.setattr(room, "graph_of", lambda *_, **__: data[: description.graph_bytes])
    result = tasks.export(model, out=tmp_path / "model.onnx")
    assert isinstance(result, room.OnnxResult)
    assert (result.judged_on, result.ap_torch, result.ap_onnx) == ("generated pictures", None, None)
    assert result.drift.pictures == room.MOST_GENERATED
    assert result.drift.matched > 0
    assert (tmp_path / "model.onnx").read_bytes() == exported[0].read_bytes()


def test_lower_precision_is_judged_by_its_ap(
    exported: tuple[Path, room.OnnxResult],
    model: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """int8 from the same graph: written when it may lose what it loses, refused when it may not."""
    data, description = read_sealed(exported[0])
    monkeypatch.setattr(room, "graph_of", lambda *_, **__: data[: description.graph_bytes])
    out = tmp_path / "small.onnx"
    result = tasks.export(model, out=out, data=tiny_folder, precision="int8", max_ap_loss=1.0)
    assert isinstance(result, room.OnnxResult)
    assert out.stat().st_size < 0.7 * exported[0].stat().st_size
    assert read_sealed(out)[1].precision == "int8"
    assert result.ap_torch == exported[1].ap_torch
    assert any("lost)" in line for line in describe(result))
    monkeypatch.setattr(room, "_aps", lambda *_: (0.5, 0.47))
    with pytest.raises(IntegrityError, match=r"int8 loses 0\.0300 of 0\.5000 AP, more than 0\.02; .*--max-ap-loss"):
        tasks.export(model, out=tmp_path / "worse.onnx", data=tiny_folder, precision="int8")
    assert not (tmp_path / "worse.onnx").exists()


def test_half_precision_is_inside_only(model: Path, tiny_folder: Path, tmp_path: Path) -> None:
    """Weights have 16 bits, inputs and outputs are those of fp32."""
    words = ["export", str(model), "--out", str(tmp_path / "half.onnx"), "--data", str(tiny_folder), "--quiet"]
    app([*words, "--precision", "fp16", "--max-ap-loss", "0.05"], standalone_mode=False)
    kinds = {w.data_type for w in onnx.load(tmp_path / "half.onnx").graph.initializer if len(w.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT16}


def test_a_trained_detector_goes_out_as_a_python_file(model: Path, tmp_path: Path) -> None:
    """And its backbone alone, too."""
    app(["export", str(model), "--to", "module", "--out", str(tmp_path)], standalone_mode=False)
    app(["export", str(model), "--to", "backbone", "--out", str(tmp_path)], standalone_mode=False)
    assert {p.name.rsplit("_", 1)[0] for p in tmp_path.glob("*.py")} == {"faster_rcnn", "spnet"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"to": "onxn"}, "onnx"),
        ({"precision": "fp8"}, "fp16"),
        ({"precision": "int8"}, "is judged by its AP; give --data"),
        ({"max_ap_loss": 0.1}, "fp32 has to find the same"),
        ({"image_size": 7}, "--image-size 7"),
        ({"out": "model.pt"}, "ends in .onnx"),
        ({"to": "backbone", "image_size": 64}, "are for --to onnx, not --to backbone"),
        ({"source": "nowhere"}, "no such model"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, object], message: str, model: Path, tmp_path: Path) -> None:
    """Before any work, in one line."""
    source = given.pop("source", model)
    with pytest.raises(UsageError, match=message):
        tasks.export(source, **({"out": tmp_path / "x.onnx"} | given))
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_tell_nothing_are_refused() -> None:
    """Nothing was found, so nothing compared; and what is found may still give another AP."""
    with pytest.raises(UsageError, match="finds nothing in these pictures"):
        room.refuse(room.Drift(pictures=3), None, precision="fp32", max_ap_loss=None, name="x.onnx")
    with pytest.raises(IntegrityError, match=r"AP is 0\.4980 in onnxruntime and 0\.5000 here"):
        room.refuse(room.Drift(matched=3), (0.5, 0.498), precision="fp32", max_ap_loss=None, name="x.onnx")
