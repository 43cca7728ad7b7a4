"""Our backbones in torchvision's detectors."""

import torch
import torchvision
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

import spnas
from spnas.adapters.torchvision import FeaturesWithFPN, NamedFeatures
from spnas.nets.foreign import load_foreign

X = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_torchvision_detects_with_our_backbone() -> None:
    """Five levels of ours and one pooled in torchvision's Faster R-CNN, in evaluation and in training."""
    backbone = FeaturesWithFPN(spnas.create_model("basic: 16x1 / 32x1 / 64x1 / 64x1 / 64x1"), out_channels=16)
    detector = FasterRCNN(
        backbone,
        num_classes=3,
        min_size=64,
        max_size=96,
        rpn_anchor_generator=AnchorGenerator(((8,), (16,), (32,), (64,), (96,), (96,)), ((0.5, 1.0, 2.0),) * 6),
        box_roi_pool=MultiScaleRoIAlign(backbone.level_names, output_size=7, sampling_ratio=2),
    )
    found = detector.eval()([X[0], X[1]])
    assert len(found) == 2
    assert found[0]["boxes"].shape[1] == 4
    targets = [{"boxes": torch.tensor([[4.0, 4, 30, 30]]), "labels": torch.tensor([1])}] * 2
    losses = detector.train()([X[0], X[1]], targets)
    assert all(loss.isfinite() for loss in losses.values())


@torch.no_grad()
def test_named_features_are_what_torchvisions_getter_returns() -> None:
    """For a ResNet, in names, order and values."""
    theirs = torchvision.models.resnet18(weights=None).eval()
    model = spnas.create_model("resnet18").eval()
    load_foreign(model.backbone, theirs.state_dict())
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    wanted, got = IntermediateLayerGetter(theirs, return_layers=layers)(X), NamedFeatures(model)(X)
    assert list(got) == list(wanted)
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
