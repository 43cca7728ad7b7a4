"""Every published backbone passes through torch.export with any number of pictures."""

import pytest
import torch

from spnas.arch.published import PUBLISHED
from spnas.nets.backbone import Backbone


@pytest.mark.parametrize("name", PUBLISHED)
@torch.no_grad()
def test_a_published_backbone_can_be_traced(name: str) -> None:
    """One graph for 1 and for 3 pictures, of an odd number of rows, with the bits of the net itself."""
    torch.manual_seed(0)
    net = Backbone(PUBLISHED[name].arch).eval()
    count = torch.export.Dim("N", min=1, max=64)
    traced = torch.export.export(net, (torch.randn(2, 3, 33, 64),), dynamic_shapes=({0: count},)).module()
    for pictures in (1, 3):
        images = torch.randn(pictures, 3, 33, 64)
        for got, wanted in zip(traced(images), net(images), strict=True):
            assert torch.equal(got, wanted)
