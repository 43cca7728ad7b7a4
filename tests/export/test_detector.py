"""A detector in one file: what it imports, and that it finds what ours finds, bit for bit."""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.export.conftest import ARCHS, CLASSES, lively, pictures

from spnas.errors import IntegrityError
from spnas.export import detector as room
from spnas.export.detector import export_detector
from spnas.nets import detectors as shelf
from spnas.shelf import members

ABOUT: dict[str, Any] = {"classes": CLASSES, "category_ids": (1, "two", 3), "resize": (None, 96)}


@pytest.fixture(scope="module", params=members(shelf))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A detector of every kind, of 4 stages with copies, of 5 or of 6, and the folder it went to."""
    net, folder = lively(request.param), tmp_path_factory.mktemp("plain")
    export_detector(net, folder, kind=request.param, **ABOUT)
    return net, folder


def read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (path,) = folder.glob("*.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


def test_every_detector_of_the_shelf_is_tried() -> None:
    """A new one has an architecture here."""
    assert set(members(shelf)) == ARCHS.keys()


def test_the_file_finds_what_the_detector_finds(made: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits, in pictures with something in them; and it says what its labels mean."""
    net, folder = made
    module = read(folder, monkeypatch)
    (weights,) = folder.glob("*.safetensors")
    again = module.detector(str(weights))
    assert not again.training
    assert again.state_dict().keys() == net.state_dict().keys()
    images, sizes = (torch.from_numpy(x) for x in pictures(3))
    found, wanted = again.detect(images, sizes), net.detect(images, sizes)
    assert int((wanted.labels >= 0).sum()) > 20
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert (module.CLASSES, module.CATEGORY_IDS, module.RESIZE) == (CLASSES, (1, "two", 3), (None, 96))


def test_the_file_needs_torch_and_torchvision_only(made: tuple[Any, Path]) -> None:
    """And nothing of what training needs is in it."""
    (path,) = made[1].glob("*.py")
    text = path.read_text()
    tree = ast.parse(text)
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = {"torch", "torchvision", "json", "math", "itertools", "functools", "typing"}
    assert {name.split(".")[0] for name in names} <= allowed
    assert "spnas" not in text
    assert "bx." not in text
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert not defined & {"loss", "assign", "sample", "match", "spnet"}


@pytest.mark.parametrize(
    ("honest", "drifted"),
    [
        ("NMS_THRESHOLD = 0.7", "NMS_THRESHOLD = 0.5"),
        ("import math", "import math, safetensors"),
        ("return self.scores(x)", "return self.nothing(x)"),
    ],
)
def test_a_file_that_drifts_is_not_handed_over(
    honest: str, drifted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another threshold, a foreign import, a fault: an integrity error, and no file."""
    write = room.detector_source
    net = lively("faster_rcnn")

    def spoiled(*given: Any, **named: Any) -> str:
        source = write(*given, **named)
        assert honest in source
        return source.replace(honest, drifted)

    monkeypatch.setattr(room, "detector_source", spoiled)
    with pytest.raises(IntegrityError, match="does not do what the net does"):
        export_detector(net, tmp_path / "out", kind="faster_rcnn", **ABOUT)
    assert not (tmp_path / "out").exists()
