"""A backbone in one file: what it imports, what it says, and that it is bit-equal to ours."""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from spnas.arch import parse
from spnas.errors import IntegrityError
from spnas.export import backbone as room
from spnas.export import standalone
from spnas.export.backbone import export_backbone, source_of
from spnas.nets import blocks
from spnas.nets.backbone import Backbone
from spnas.shelf import members

X = torch.randn(1, 3, 75, 91, generator=torch.Generator().manual_seed(3))


def trained(text: str, *, projections: tuple[int, ...] = (), tied: bool = False) -> Backbone:
    """A backbone whose BN layers are not at their defaults."""
    net = Backbone(parse(text), projections=frozenset(projections), tied=tied)
    rng = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=rng)
            module.running_var.uniform_(0.5, 1.5, generator=rng)
            nn.init.uniform_(module.weight, 0.5, 1, generator=rng)
    return net.eval()


def read(source: str) -> ModuleType:
    """Run the text of a file in this process."""
    module = ModuleType("exported")
    exec(compile(source, "exported.py", "exec"), module.__dict__)
    return module


NETS = {
    "serial": trained("basic: 16x2 / 32x2 64x1 / 64x2"),
    "kept projections": trained("bottleneck: 8x3 / 16x2", projections=(1, 4)),
    "two 3x3 convolutions": trained("bottleneck conv: 8x1 / 16x1"),
    "copies": trained("basic: 8x1 / 16x2 / 16x1 + 1-0-2", projections=(2,)),
    "tied copies": trained("basic: 8x1 / 16x1 + 2-1", tied=True),
    **{f"block {kind}": trained(f"{kind}: 32x1 / 64x1") for kind in members(blocks)},
}


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_the_file_computes_what_the_net_computes(name: str) -> None:
    """State dicts have the same names, and all maps the same bits."""
    net, exported = NETS[name], read(source_of(NETS[name])).spnet()
    exported.load_state_dict(net.state_dict())
    exported.eval()
    assert (exported.channels, exported.strides) == (net.channels, net.strides)
    for got, wanted in zip(exported(X), net(X), strict=True):
        assert torch.equal(got, wanted)


def test_every_block_on_the_shelf_can_be_exported() -> None:
    """A new kind of block that cannot say its convolutions as plain data fails here."""
    assert {f"block {kind}" for kind in members(blocks)} <= NETS.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export, with the check in a process of its own."""
    place = tmp_path_factory.mktemp("export") / "new"
    export_backbone(NETS["copies"], place)
    return place


def test_an_export_is_two_files_named_by_the_architecture(folder: Path) -> None:
    """No pickle is among them, and nothing is left behind."""
    name = f"spnet_{NETS['copies'].arch.id}"
    assert {p.name for p in folder.iterdir()} == {f"{name}.py", f"{name}.safetensors"}


def test_the_file_imports_torch_only(folder: Path) -> None:
    """And the standard library's json, to read the header of the weights."""
    tree = ast.parse(next(folder.glob("*.py")).read_text())
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} == {"torch", "json", "typing"}
    assert "spnas" not in next(folder.glob("*.py")).read_text()


@torch.no_grad()
def test_the_file_loads_its_own_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own reader, which agrees with the safetensors library."""
    path = next(folder.glob("*.py"))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    weights = str(path.with_suffix(".safetensors"))
    theirs, own = load_file(weights), module.read_safetensors(weights)
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in theirs)
    net = module.spnet(weights)
    assert not net.training
    assert all(torch.equal(a, b) for a, b in zip(net(X), NETS["copies"](X), strict=True))


def test_the_architecture_stands_in_the_file_as_data() -> None:
    """As a person would proof-read it against the notation."""
    text = source_of(NETS["serial"])
    assert "basic: 16x2 / 32x2 64x1 / 64x2" in text
    assert "    ((16, 2),),\n    ((32, 2), (64, 1)),\n    ((64, 2),),\n" in text
    assert "PROJECTIONS: tuple[int, ...] = (1, 4)\n" in source_of(NETS["kept projections"])


@pytest.mark.parametrize(
    ("honest", "drifted"),
    [
        ("torch.relu(y + (x", "torch.relu(1.0000001 * y + (x"),
        ("import json", "import json, safetensors"),
        ("return features", "return features[1:]"),
    ],
)
def test_a_file_that_drifts_is_not_handed_over(
    honest: str, drifted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last bit, a foreign import, a missing output: an integrity error, and no file."""
    source = source_of(NETS["copies"])
    assert honest in source
    monkeypatch.setattr(room, "source_of", lambda _net: source.replace(honest, drifted))
    with pytest.raises(IntegrityError, match="does not do what the net does"):
        export_backbone(NETS["copies"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_template_is_a_net_itself() -> None:
    """Unchanged, it is ResNet-18."""
    net = standalone.spnet()
    assert net.state_dict().keys() == Backbone(parse("b_11-21-21-21")).state_dict().keys()
    assert sum(p.numel() for p in net.parameters()) == 11_176_512
