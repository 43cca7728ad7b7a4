"""Facts about what a 3x3 convolution sees."""

import pytest
import torch

from spnas.nets.patches import convolve, patches


@pytest.mark.parametrize("shapes", [[(5, 7)], [(8, 6), (4, 3), (2, 2), (1, 1)]], ids=["one level", "to a single cell"])
def test_a_convolution_of_what_is_seen_is_the_convolution_at_those_cells(shapes: list[tuple[int, int]]) -> None:
    """At all cells of all levels and pictures, borders too."""
    torch.manual_seed(0)
    levels = [torch.randn(2, 3, *shape, dtype=torch.float64) for shape in shapes]
    conv = torch.nn.Conv2d(3, 4, 3, padding=1, dtype=torch.float64)
    whole = torch.cat([conv(level).flatten(2) for level in levels], 2)  # (N, 4, cells)
    picture, cell = torch.ones(whole.shape[0], whole.shape[2]).nonzero().unbind(1)
    found = convolve(conv, patches(levels, picture, cell))
    assert torch.allclose(found, whole.permute(0, 2, 1).flatten(0, 1), rtol=1e-12, atol=1e-12)


def test_vectors_go_through_a_convolution_of_one_cell() -> None:
    """As through the convolution of a map of one cell each."""
    torch.manual_seed(0)
    conv, seen = torch.nn.Conv2d(3, 4, 1), torch.randn(5, 3)
    assert torch.allclose(convolve(conv, seen), conv(seen[..., None, None]).flatten(1), atol=1e-6)


def test_nothing_is_seen_of_no_cells() -> None:
    """A batch may have no anchor to learn from; gradients are zeros then, not missing."""
    level = torch.randn(1, 3, 4, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.long)
    found = patches([level], none, none)
    assert found.shape == (0, 27)
    found.sum().backward()
    assert level.grad is not None
    assert not level.grad.any()
