"""Weights of torchvision's and timm's nets give their features, bit for bit."""

import os
import pickle
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from spnas.arch.published import published
from spnas.errors import UsageError
from spnas.nets.backbone import Backbone
from spnas.nets.foreign import head_of, load_foreign, read_pth, translate

NETS = ("resnet18", "resnet50", "resnet101", "resnext50_32x4d")


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give BN statistics and affine parameters that a net trained for long could have, none at its default."""
    rng = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=rng)
            module.running_var.uniform_(0.5, 2, generator=rng)
            module.num_batches_tracked.fill_(1000)
            nn.init.uniform_(module.weight, 0.3, 1, generator=rng)
            nn.init.normal_(module.bias, 0, 0.2, generator=rng)
    return model.eval()


def features_of(resnet: nn.Module, x: Tensor) -> list[Tensor]:
    """The maps of a ResNet with torchvision's names, without any code of ours."""
    activate = getattr(resnet, "relu", None) or resnet.act1
    x = resnet.maxpool(activate(resnet.bn1(resnet.conv1(x))))
    maps = []
    for layer in (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4):
        x = layer(x)
        maps.append(x)
    return maps


def ours(name: str) -> Backbone:
    return Backbone(published(name).arch).eval()


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_torchvision_weights_give_torchvision_features(name: str) -> None:
    """The largest difference of any feature is zero."""
    theirs = randomise(torchvision.models.get_model(name, weights=None))
    backbone = ours(name)
    load_foreign(backbone, theirs.state_dict())
    x = torch.randn(2, 3, 72, 56, generator=torch.Generator().manual_seed(1))
    for got, wanted in zip(backbone(x), features_of(theirs, x), strict=True):
        assert got.std() > 0.01
        assert (got - wanted).abs().max() == 0


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
@torch.no_grad()
def test_timm_weights_give_timm_features(name: str) -> None:
    """The same holds for timm, whose own features-only net is compared too."""
    theirs = randomise(timm.create_model(name, pretrained=False))
    backbone = ours(name)
    load_foreign(backbone, theirs.state_dict())
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    alone = timm.create_model(name, pretrained=False, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    alone.load_state_dict(theirs.state_dict(), strict=False)
    for got, wanted, also in zip(backbone(x), features_of(theirs, x), alone(x), strict=True):
        assert torch.equal(got, wanted)
        assert torch.equal(got, also)


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "backbone.body.", "model.backbone."])
def test_a_prefix_does_not_matter_and_what_lies_beside_the_backbone_is_left_out(prefix: str) -> None:
    """Names inside a wrapper or a detector are recognised by where the stem is."""
    state = torchvision.models.resnet18(weights=None).state_dict()
    wrapped = {f"{prefix}{name}": value for name, value in state.items()} | {"neck.lateral.0.weight": torch.zeros(1)}
    assert translate(wrapped).keys() == translate(state).keys() == ours("resnet18").state_dict().keys()


def test_our_own_names_are_read_as_well() -> None:
    """A state dict of ours, bare or inside a detector, needs no translation."""
    state = ours("resnet18").state_dict()
    assert translate(state).keys() == state.keys()
    assert translate({f"backbone.{name}": value for name, value in state.items()}).keys() == state.keys()


def test_old_checkpoints_have_no_counters_of_batches() -> None:
    """They play no part in evaluation, and torchvision's first files lack them."""
    state = torchvision.models.resnet18(weights=None).state_dict()
    load_foreign(ours("resnet18"), {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")})


def test_tensors_without_a_place_are_named() -> None:
    """A deeper net's weights are refused, and the backbone keeps its own."""
    backbone = ours("resnet18")
    before = backbone.stem[0].weight.clone()
    with pytest.raises(UsageError, match=r"many\.pth: .* unknown \(stages\.0\.2\.conv1\.0\.weight, .*\); build"):
        load_foreign(backbone, torchvision.models.resnet34(weights=None).state_dict(), source="many.pth")
    assert torch.equal(backbone.stem[0].weight, before)


def test_missing_tensors_are_named() -> None:
    """What the backbone needs and the file lacks stands in the message."""
    state = torchvision.models.resnet18(weights=None).state_dict()
    del state["layer3.0.downsample.1.running_var"]
    with pytest.raises(UsageError, match=r"1 missing \(stages\.2\.0\.shortcut\.1\.running_var\)"):
        load_foreign(ours("resnet18"), state)


def test_tensors_of_another_shape_are_named() -> None:
    """A ResNeXt is no ResNet, though all names are the same."""
    state = torchvision.models.resnext50_32x4d(weights=None).state_dict()
    with pytest.raises(UsageError, match=r"of another shape \(stages\.0\.0\.conv1\.0\.weight \(128, 64, 1, 1\)"):
        load_foreign(ours("resnet50"), state)


def test_weights_of_something_else_are_refused() -> None:
    """Without a stem there is no backbone to be found."""
    with pytest.raises(UsageError, match=r"no conv1\.weight or stem\.0\.weight among the names \(features\.0\.weight"):
        translate({"features.0.weight": torch.zeros(1)})


def test_the_head_is_taken_apart() -> None:
    """`fc` belongs to a classifier, not to the backbone."""
    state = torchvision.models.resnet18(weights=None).state_dict()
    assert head_of(state).keys() == {"weight", "bias"}
    assert head_of({f"module.{name}": value for name, value in state.items()}).keys() == {"weight", "bias"}
    assert not any(name.startswith("fc") for name in translate(state))


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_a_pth_file_comes_back_as_it_was_saved(tmp_path: Path, wrapper: str | None) -> None:
    """Bare, or one level down in a training checkpoint."""
    state = {"conv1.weight": torch.randn(2, 3)}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "net.pth")
    assert torch.equal(read_pth(tmp_path / "net.pth")["conv1.weight"], state["conv1.weight"])


class _Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_pth_file_is_not_run(tmp_path: Path) -> None:
    """A file that would execute something is refused, in torch's format and as a bare pickle."""
    mark = tmp_path / "executed"
    torch.save({"conv1.weight": _Payload(mark)}, tmp_path / "new.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(_Payload(mark)))
    for name in ("new.pth", "bare.pth"):
        with pytest.raises(UsageError, match="not a plain state dict"):
            read_pth(tmp_path / name)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x02]q\x00.", b"version https://git-lfs"])
def test_damaged_pth_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """Cut, empty and other files end in one sentence."""
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(UsageError, match=r"net\.pth: "):
        read_pth(tmp_path / "net.pth")


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    """`torch.save(model)` is code; the message says what to save instead."""
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(UsageError, match=r"save one with torch\.save\(model\.state_dict\(\)"):
        read_pth(tmp_path / "model.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The path stands in the message."""
    with pytest.raises(UsageError, match=r"gone\.pth: no such file"):
        read_pth(tmp_path / "gone.pth")
