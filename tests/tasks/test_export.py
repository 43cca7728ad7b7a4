"""`spnas export`: backbones from a name, a folder or a file; the size of a detector's input, and what judges it."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import spnas
from spnas.data.batches import Resize
from spnas.data.records import DataSet
from spnas.errors import UsageError
from spnas.export.description import seal
from spnas.nets.settings import PRESETS
from spnas.tasks import evaluate, export, export_backbone, export_onnx
from spnas.tasks.export import describe
from spnas.train.weights import ModelConfig

SMALL = "basic: 8x1 / 16x1"


def test_a_saved_model_goes_out_with_its_weights(tmp_path: Path) -> None:
    """From the folder that save_pretrained wrote."""
    model = spnas.create_model(SMALL)
    spnas.save_pretrained(model, tmp_path / "model")
    result = export_backbone(tmp_path / "model", out=tmp_path / "out")
    assert result.trained
    got = load_file(result.files.weights)
    assert all(torch.equal(got[name], value) for name, value in model.backbone.state_dict().items())
    assert Path(result.files.module).name == f"spnet_{model.backbone.arch.id}.py"


def test_an_architecture_goes_out_with_fresh_weights_that_do_not_change(tmp_path: Path) -> None:
    """The result says so, and torch's global generator is left alone."""
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = export_backbone(SMALL, out=tmp_path / "a")
    assert torch.equal(before, torch.random.get_rng_state())
    assert export_backbone(SMALL, out=tmp_path / "b").files.weights_sha256 == first.files.weights_sha256
    assert not first.trained
    assert any("fresh weights" in line for line in describe(first))


def test_weights_without_an_architecture_are_refused(tmp_path: Path) -> None:
    """A .pth file says no more than names and shapes."""
    torch.save(spnas.create_model(SMALL).backbone.state_dict(), tmp_path / "net.pth")
    with pytest.raises(UsageError, match="does not say which architecture it belongs to"):
        export_backbone(tmp_path / "net.pth", out=tmp_path)


@pytest.mark.parametrize("source", ["runs/gone/best", "resnet5O", "x" * 3000])
def test_what_is_neither_is_said_to_be_neither(source: str, tmp_path: Path) -> None:
    """Neither a file nor an architecture."""
    with pytest.raises(UsageError, match=r"\(nor is there a file or folder of that name\)$"):
        export_backbone(source, out=tmp_path)


def test_an_input_holds_every_picture_of_the_data(tiny: DataSet) -> None:
    """In multiples of 32; without data it is a square."""
    assert export_onnx.frame_of(Resize(None, 60), tiny) == (64, 64)
    assert export_onnx.frame_of(Resize(None, 65), tiny) == (96, 96)
    assert export_onnx.frame_of(Resize(800, 1333), None) == (1344, 1344)
    lying = msgspec.structs.replace(tiny.val, sizes=np.full_like(tiny.val.sizes, (640, 480)))
    both = msgspec.structs.replace(tiny, train=lying, val=lying)
    assert export_onnx.frame_of(Resize(800, 1333), both) == (800, 1088)
    assert export_onnx.frame_of(Resize(None, 320), both) == (256, 320)


def test_of_many_pictures_some_are_judged_on(tiny: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first to the last, and the name says so."""
    assert export_onnx.judged_pictures(tiny) is tiny.val
    monkeypatch.setattr(export_onnx, "MOST_JUDGED", 4)
    some = export_onnx.judged_pictures(tiny)
    assert len(some) == 4
    assert (some.files[0], some.files[-1]) == (tiny.val.files[0], tiny.val.files[-1])
    assert some.name.endswith(" (4 of 12 pictures)")


def test_only_what_export_wrote_is_written_over(tmp_path: Path) -> None:
    """Said before any work is done; this model is not even there."""
    out = tmp_path / "model.onnx"
    config = ModelConfig(
        detector="faster_rcnn",
        arch=SMALL,
        classes=("cat",),
        category_ids=(1,),
        settings=PRESETS["small"],
        resize=Resize(None, 64),
    )
    sealed = seal(b"graph", export_onnx.describe_model(config, config.resize, (64, 64), "fp32"))
    for ours in (b"", sealed):
        out.write_bytes(ours)
        with pytest.raises(UsageError, match="no such model"):
            export("runs/gone", out=out)
    for other in (b"graph", sealed[:-1], b"x" + sealed):
        out.write_bytes(other)
        with pytest.raises(UsageError, match=r"--out .*model\.onnx: is there already and is not as spnas export wrote"):
            export("runs/gone", out=out)
        assert out.read_bytes() == other
    with pytest.raises(UsageError, match=r"--out .*gone/model\.onnx: its folder is not there; make it first"):
        export("runs/gone", out=tmp_path / "gone" / "model.onnx")
    for name in ("model.json", "model"):
        with pytest.raises(UsageError, match=r"give the name of a file that ends in \.onnx"):
            export("runs/gone", out=tmp_path / name)


def test_an_onnx_file_is_said_to_be_one(tmp_path: Path) -> None:
    file = tmp_path / "theirs.onnx"
    file.write_bytes(b"\x08\x08")
    for work in (
        lambda: evaluate(file),
        lambda: export(file, out=tmp_path / "new.onnx"),
        lambda: export(file, to="module", out=tmp_path / "new"),
        lambda: export(file, to="backbone", out=tmp_path / "new"),
    ):
        with pytest.raises(UsageError, match=r"theirs\.onnx: is an ONNX file, which predict alone takes"):
            work()
