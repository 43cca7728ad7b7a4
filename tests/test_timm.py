"""The published nets under timm's own `create_model`."""

import pytest
import timm
import torch

import spnas.timm
from spnas.errors import UsageError

X = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_timm_builds_the_published_nets() -> None:
    """As feature maps and as a classifier, and with the arguments timm hands over."""
    assert "spnet_coco_bnb" in timm.list_models("spnet_*")
    model = timm.create_model("spnet_voc_bb", features_only=True, out_indices=(0, 2)).eval()
    assert [m.shape[1] for m in model(X)] == model.feature_info.channels() == [128, 256]
    logits = timm.create_model("spnet_voc_bb", num_classes=5).eval()(X)
    assert logits.shape == (2, 5)
    with pytest.raises(UsageError, match="no weights were published"):
        timm.create_model("spnet_voc_bb", pretrained=True)
    with pytest.raises(UsageError, match="in_chans 1"):
        timm.create_model("spnet_voc_bb", in_chans=1)


def test_timm_keeps_its_own_resnets() -> None:
    """Nothing that timm has is entered a second time."""
    assert all(name.startswith("spnet_") for name in spnas.timm.NAMES)
