"""Backbones by name: `create_model` and `warm_start`."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

import spnas
from spnas.arch import parse
from spnas.errors import UsageError
from spnas.models import partners
from spnas.nets.backbone import Backbone

SMALL = "basic: 16x2 / 32x2 / 64x1"
X = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def settle(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give every BN statistics and parameters that are not its defaults, and leave training mode."""
    rng = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=rng)
            module.running_var.uniform_(0.5, 1.5, generator=rng)
            torch.nn.init.uniform_(module.weight, 0.5, 1, generator=rng)
    return model.eval()


def test_import_is_light() -> None:
    """`import spnas` loads no torch; its functions are there all the same."""
    program = "import sys, spnas; assert 'create_model' in dir(spnas); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
    assert all(callable(getattr(spnas, name)) for name in spnas.__all__)
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        spnas.create_modle  # noqa: B018


def test_features_are_what_feature_info_says() -> None:
    """Channels and strides of every map, finest first."""
    model = spnas.create_model("spnet_coco_bnb").eval()
    with torch.no_grad():
        maps = model(X)
    assert [m.shape[1] for m in maps] == model.feature_info.channels() == [512, 1024, 1024, 2048, 2048, 2048]
    assert model.feature_info.reduction() == [4, 8, 16, 32, 64, 128]
    assert [m.shape[-1] for m in maps] == [-(-96 // stride) for stride in model.feature_info.reduction()]
    assert model.feature_info[0] == {"num_chs": 512, "reduction": 4, "module": "stages.0", "index": 0}
    assert set(model.feature_info.get_dicts(["reduction"])[0]) == {"reduction"}


def test_out_indices_choose_stages() -> None:
    """They may count from the end; one that is not there is an error."""
    model = spnas.create_model(SMALL, out_indices=(0, -1)).eval()
    assert [m.shape[1] for m in model(X)] == model.feature_info.channels() == [16, 64]
    assert model.feature_info.reduction(1) == 8
    assert model.feature_info.module_name([0, 1]) == ["stages.0", "stages.1"]
    with pytest.raises(UsageError, match=r"out_indices \(3,\): the backbone has 3 stages"):
        spnas.create_model(SMALL, out_indices=(3,))


def test_an_arch_a_notation_a_code_and_a_name_are_all_understood() -> None:
    """All of them name the same datum."""
    wanted = spnas.create_model("resnet18").backbone.arch
    for same in (wanted, wanted.text, "b_11-21-21-21"):
        assert spnas.create_model(same).backbone.arch == wanted
    with pytest.raises(UsageError, match="did you mean 'spnet_coco_bnb'"):
        spnas.create_model("spnet_coco_bmb")


@torch.no_grad()
def test_a_classifier_with_torchvision_weights_is_torchvisions(tmp_path: Path) -> None:
    """Logits are equal, from a .pth file and from a .safetensors file."""
    from safetensors.torch import save_file

    theirs = settle(torchvision.models.resnet18(weights=None, num_classes=7))
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    save_file(theirs.state_dict(), tmp_path / "net.safetensors")
    for name in ("net.pth", "net.safetensors"):
        ours = spnas.create_model(
            "resnet18", features_only=False, pretrained_path=tmp_path / name, num_classes=7
        ).eval()
        assert torch.equal(ours(X), theirs(X))
        assert ours.num_features == 512


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    """The message says what they are and what can be done."""
    spnas.save_pretrained(spnas.create_model(SMALL), tmp_path)
    with pytest.raises(UsageError, match=r"weights of basic: 16x2 .*, not of basic: 16x3.*warm_start"):
        spnas.create_model("basic: 16x3 / 32x2 / 64x1", pretrained_path=tmp_path)


@torch.no_grad()
def test_a_net_with_more_blocks_starts_as_the_net_it_starts_from() -> None:
    """New blocks at the end of a stage are identities, so all features are the same."""
    source = settle(spnas.create_model("basic: 16x2 / 32x2 / 64x2"))
    deeper = spnas.create_model("basic: 16x4 / 32x3 / 64x2").eval()
    spnas.warm_start(deeper, source)
    for got, wanted in zip(deeper(X), source(X), strict=True):
        assert torch.allclose(got, wanted, atol=1e-5)


@torch.no_grad()
def test_a_net_with_another_stage_keeps_the_levels_that_were_there() -> None:
    """The new level is a strided identity of the last one."""
    source = settle(spnas.create_model("bottleneck: 16x1 / 32x2"))
    longer = spnas.create_model("bottleneck: 16x1 / 32x2 / 32x1").eval()
    spnas.warm_start(longer, source)
    maps = longer(X)
    for got, wanted in zip(maps, source(X), strict=False):
        assert torch.allclose(got, wanted, atol=1e-5)
    assert torch.allclose(maps[2], maps[1][..., ::2, ::2], atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("block", ["basic", "bottleneck", "resnext"])
def test_a_wider_net_holds_the_features_it_starts_from(block: str) -> None:
    """The first channels of every map are the source's."""
    source = settle(spnas.create_model(f"{block}: 32x2 / 64x2"))
    wider = spnas.create_model(f"{block}: 48x2 / 96x2").eval()
    spnas.warm_start(wider, source)
    for got, wanted in zip(wider(X), source(X), strict=True):
        assert torch.allclose(got[:, : wanted.shape[1]], wanted, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_pictures_make_a_narrower_net_start_nearer(block: str) -> None:
    """What is lost is read from what is kept, which takes a batch to measure on."""
    source = settle(spnas.create_model(f"{block}: 32x2 / 64x2 / 64x1"))
    missed = []
    for pictures in (None, X):
        torch.manual_seed(0)
        narrower = spnas.create_model(f"{block}: 32x2 / 48x2 / 64x1").eval()
        spnas.warm_start(narrower, source, pictures=pictures)
        missed.append((narrower(X)[2] - source(X)[2]).norm())
    assert missed[1] < missed[0]


@torch.no_grad()
def test_copies_start_without_a_say() -> None:
    """A serial net's features are those of the parallel one that starts from it."""
    source = settle(spnas.create_model("basic: 16x1 / 32x2 / 64x1"))
    parallel = spnas.create_model("basic: 16x1 / 32x2 / 64x1 + 0-1-0").eval()
    spnas.warm_start(parallel, source)
    for got, wanted in zip(parallel(X), source(X), strict=True):
        assert torch.allclose(got, wanted, atol=1e-5)


@torch.no_grad()
def test_smaller_nets_and_other_stems_start_too() -> None:
    """Not all can be kept, but all that has a place is; a stem of another kind stays as it was drawn."""
    source = settle(spnas.create_model("basic: 16x3 / 32x2 / 64x2 / 64x1"))
    smaller = spnas.create_model("basic conv: 16x1 / 32x2 / 64x1").eval()
    stem = smaller.backbone.stem[0].weight.clone()
    spnas.warm_start(smaller, source)
    assert torch.equal(smaller.backbone.stem[0].weight, stem)
    assert torch.equal(smaller.backbone.stages[1][1].conv1[0].weight, source.backbone.stages[1][1].conv1[0].weight)
    assert all(m.isfinite().all() for m in smaller(X))


def test_warm_starts_over_published_nets_find_partners() -> None:
    """ResNet-50 to SPNet: the first blocks of every stage both have are shared, the stages beyond are new."""
    with torch.device("meta"):
        young, old = Backbone(spnas.create_model("spnet_coco_bnb").backbone.arch), Backbone(parse("r_111-2111"))
    found = partners(young, old)
    assert found[:7] == (0, 1, 2, None, None, None, 3)
    assert set(found[15:]) == {None}
    with pytest.raises(UsageError, match="bottleneck blocks cannot start from basic blocks"):
        spnas.warm_start(young, Backbone(parse(SMALL)))
