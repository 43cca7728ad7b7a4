"""Activation memory: additive per block, and what autograd keeps of a whole net in training."""

import itertools

import pytest
import torch
from tests.nets.test_cost import COUNTED
from torch import nn

from spnas.arch import parse
from spnas.nets.backbone import Backbone
from spnas.nets.memory import activation_mib


def kept_by_a_whole_net(net: nn.Module, batch: int, height: int, width: int) -> int:
    """Train a net for one forward pass and add up all that is kept of it, but for its own weights and statistics."""
    kept: dict[int, int] = {}
    held: list[torch.Tensor] = []
    own = {tensor.data_ptr() for tensor in (*net.parameters(), *net.buffers())}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor)
        if tensor.numel() and tensor.data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net.train()(torch.rand(batch, 3, height, width))
    return sum(kept.values())


@pytest.mark.parametrize(("text", "size"), list(itertools.product(COUNTED, [(64, 64), (97, 130)])))
def test_the_sum_over_blocks_is_what_a_picture_more_makes_a_whole_net_keep(text: str, size: tuple[int, int]) -> None:
    """From two pictures to four, since one is too few for batch normalisation where a map has a single pixel."""
    arch = parse(text)
    net = Backbone(arch)
    two_more = kept_by_a_whole_net(net, 4, *size) - kept_by_a_whole_net(net, 2, *size)
    assert activation_mib(arch, *size) * 2**20 == two_more / 2


def test_kept_projections_are_counted_when_asked_for() -> None:
    arch, kept = parse("basic: 8x2 / 16x3"), frozenset({1, 4})
    net = Backbone(arch, projections=kept)
    two_more = kept_by_a_whole_net(net, 4, 64, 64) - kept_by_a_whole_net(net, 2, 64, 64)
    assert activation_mib(arch, 64, 64, projections=kept) * 2**20 == two_more / 2


def test_memory_is_additive_per_block() -> None:
    one, two, three = (activation_mib(parse(f"bottleneck: 16x2 / 32x{n} / 64x2")) for n in (2, 3, 4))
    assert three - two == two - one > 0
