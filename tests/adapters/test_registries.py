"""detectron2 and mmdetection, neither of which is installed: stand-ins that hold their documented contract."""

import importlib
import itertools
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from spnas.errors import UsageError

ARCH = "basic: 16x1 / 32x1 / 64x1"
X = torch.zeros(1, 3, 64, 64)


class Registry:
    """Both libraries' registries: a decorator factory, and names."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}

    def register(self, **_options: Any) -> Callable[[Any], Any]:
        def enter(thing: Any) -> Any:
            assert thing.__name__ not in self.known
            self.known[thing.__name__] = thing
            return thing

        return enter

    register_module = register


class ShapeSpec(NamedTuple):
    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


class PlainBackbone(nn.Module):
    """detectron2's base class asks for a dict from forward, and for output_shape."""

    @property
    def size_divisibility(self) -> int:
        return 0


class BaseModule(nn.Module):
    """mmengine's base class takes init_cfg."""

    def __init__(self, init_cfg: Any = None) -> None:
        super().__init__()
        self.init_cfg = init_cfg


class StandInFPN(PlainBackbone):
    """detectron2's pyramid asks that strides double from one input feature to the next."""

    def __init__(self, *, bottom_up: Any, in_features: list[str], out_channels: int, **options: Any) -> None:
        super().__init__()
        assert options.keys() == {"norm", "top_block", "fuse_type"}
        shapes = bottom_up.output_shape()
        strides = [shapes[name].stride for name in in_features]
        assert all(b == 2 * a for a, b in itertools.pairwise(strides))
        self.bottom_up, self.in_features = bottom_up, in_features
        self.lateral = nn.ModuleList(nn.Conv2d(shapes[name].channels, out_channels, 1) for name in in_features)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.bottom_up(x)
        return {f"p{i + 2}": conv(maps[name]) for i, (conv, name) in enumerate(zip(self.lateral, self.in_features,
                                                                                  strict=True))}  # fmt: skip


def stand_in(monkeypatch: pytest.MonkeyPatch, **modules: dict[str, Any]) -> None:
    for name, content in modules.items():
        module = ModuleType(name.replace("__", "."))
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name.replace("__", "."), module)


def fresh(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """Import an adapter anew, against the stand-ins, and forget it afterwards."""
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    monkeypatch.delitem(sys.modules, name)
    return module


@pytest.fixture
def detectron2(monkeypatch: pytest.MonkeyPatch) -> Any:
    registry = Registry()
    stand_in(
        monkeypatch,
        detectron2={},
        detectron2__config={"CfgNode": lambda content: SimpleNamespace(**content)},
        detectron2__modeling={"BACKBONE_REGISTRY": registry, "Backbone": PlainBackbone, "ShapeSpec": ShapeSpec},
        detectron2__modeling__backbone={},
        detectron2__modeling__backbone__fpn={"FPN": StandInFPN, "LastLevelMaxPool": lambda: None},
    )
    return SimpleNamespace(registry=registry, adapter=fresh(monkeypatch, "spnas.adapters.detectron2"))


@pytest.fixture
def config(detectron2: Any) -> Any:
    model = SimpleNamespace(FPN=SimpleNamespace(OUT_CHANNELS=8, NORM="", FUSE_TYPE="sum"))
    cfg = SimpleNamespace(MODEL=model)
    detectron2.adapter.add_config(cfg)
    assert cfg.MODEL.SPNET.ARCH == "resnet50"
    cfg.MODEL.SPNET.ARCH = ARCH
    return cfg


def test_detectron2_gets_maps_by_name_and_their_shapes(detectron2: Any, config: Any) -> None:
    """`output_shape` tells the truth about `forward`."""
    net = detectron2.registry.known["build_spnet_backbone"](config, ShapeSpec(channels=3))
    assert isinstance(net, PlainBackbone)
    maps = net(X)
    assert list(maps) == ["stage1", "stage2", "stage3"]
    for name, spec in net.output_shape().items():
        assert maps[name].shape[1:] == (spec.channels, 64 // spec.stride, 64 // spec.stride)


def test_detectron2_chooses_features_by_name(detectron2: Any, config: Any) -> None:
    """OUT_FEATURES holds names of stages, and nothing else."""
    config.MODEL.SPNET.OUT_FEATURES = ["stage2", "stage3"]
    net = detectron2.registry.known["build_spnet_backbone"](config, ShapeSpec(channels=3))
    assert list(net(X)) == list(net.output_shape()) == ["stage2", "stage3"]
    config.MODEL.SPNET.OUT_FEATURES = ["res2"]
    with pytest.raises(UsageError, match="give some of stage1, stage2"):
        detectron2.registry.known["build_spnet_backbone"](config, ShapeSpec(channels=3))


def test_detectron2_refuses_pictures_of_four_bands(detectron2: Any, config: Any) -> None:
    """The stem reads RGB."""
    with pytest.raises(UsageError, match="pictures of 4 channels"):
        detectron2.registry.known["build_spnet_backbone"](config, ShapeSpec(channels=4))


def test_detectron2_puts_its_pyramid_on_top(detectron2: Any, config: Any) -> None:
    """All outputs go in, finest first."""
    net = detectron2.registry.known["build_spnet_fpn_backbone"](config, ShapeSpec(channels=3))
    assert {name: tuple(m.shape[1:]) for name, m in net(X).items()} == {
        "p2": (8, 16, 16), "p3": (8, 8, 8), "p4": (8, 4, 4)}  # fmt: skip


@pytest.fixture
def mmdet(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    stand_in(
        monkeypatch,
        mmdet={},
        mmdet__registry={"MODELS": registry},
        mmengine={},
        mmengine__model={"BaseModule": BaseModule},
    )
    fresh(monkeypatch, "spnas.adapters.mmdet")
    return registry


def test_mmdetection_gets_a_tuple(mmdet: Registry) -> None:
    """The type SPNet is known after the import, and its forward returns a tuple."""
    net = mmdet.known["SPNet"](arch=ARCH, out_indices=(1, 2), init_cfg={"type": "Pretrained"})
    maps = net(X)
    assert isinstance(maps, tuple)
    assert [m.shape[1] for m in maps] == [32, 64]
    assert net.init_cfg == {"type": "Pretrained"}


def test_mmdetection_freezes_what_it_is_told_to(mmdet: Registry) -> None:
    """Frozen stages and BN stay in evaluation mode through `train`."""
    net = mmdet.known["SPNet"](arch=ARCH, frozen_stages=1).train()
    backbone = net.features.backbone
    assert not any(p.requires_grad for part in (backbone.stem, backbone.stages[0]) for p in part.parameters())
    assert all(p.requires_grad for p in backbone.stages[1].parameters())
    assert not backbone.stages[0].training
    assert backbone.stages[1].training
    assert not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_mmdetection_may_train_all(mmdet: Registry) -> None:
    """`norm_eval=False` and no frozen stages leave nothing out."""
    net = mmdet.known["SPNet"](arch=ARCH, norm_eval=False).train()
    assert all(m.training for m in net.modules())
    assert all(p.requires_grad for p in net.parameters())
    assert not net.eval().training
