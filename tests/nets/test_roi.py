import msgspec
import pytest
import torch

from spnas.nets import roi
from spnas.nets.settings import PRESETS

STRIDES = (4, 8, 16, 32)


def pyramid(size: int, seed: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, size // s, size // s + 1, generator=rng, dtype=torch.float64) for s in STRIDES]


def boxes(size: int, seed: int) -> torch.Tensor:
    """Boxes of all sizes, some of them beyond the picture, some empty."""
    rng = torch.Generator().manual_seed(seed)
    corner = (torch.rand(2, 40, 2, generator=rng, dtype=torch.float64) - 0.2) * size * 1.2
    side = torch.rand(2, 40, 2, generator=rng, dtype=torch.float64) ** 3 * size * 1.2
    side[:, :3] = 0
    return torch.cat((corner, corner + side), -1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("bins", "ratio"), [(5, 1), (7, 2), (3, 3)])
def test_pooling_from_one_table_is_roi_align_per_level(bins: int, ratio: int, seed: int) -> None:
    settings = msgspec.structs.replace(PRESETS["small"], roi_size=bins, roi_sampling_ratio=ratio)
    levels, regions = pyramid(128, seed), boxes(128, seed + 100)
    which = roi.level_of(regions.reshape(-1, 4), 4 * settings.anchor_scale * roi.USUAL_SCALE, 4)
    expected = roi._pool_by_level(levels, STRIDES, regions, which, bins, ratio)
    got = roi.pool_regions(levels, STRIDES, regions, settings)
    assert torch.allclose(got, expected, atol=1e-12)


def test_gradients_are_those_of_roi_align() -> None:
    settings = PRESETS["small"]
    ours, theirs = ([level.requires_grad_() for level in pyramid(96, 7)] for _ in range(2))
    regions = boxes(96, 8)
    which = roi.level_of(regions.reshape(-1, 4), 4 * settings.anchor_scale * roi.USUAL_SCALE, 4)
    got = roi.pool_regions(ours, STRIDES, regions, settings)
    expected = roi._pool_by_level(theirs, STRIDES, regions, which, settings.roi_size, settings.roi_sampling_ratio)
    pull = torch.randn_like(expected)
    torch.autograd.backward(got, pull)
    torch.autograd.backward(expected, pull)
    for a, b in zip(ours, theirs, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, atol=1e-10)


def test_a_box_of_224_pixels_belongs_to_stride_16_as_in_the_paper() -> None:
    base = 4 * PRESETS["standard"].anchor_scale * roi.USUAL_SCALE
    sides = torch.tensor([30.0, 111.0, 113.0, 223.0, 225.0, 449.0, 5000.0])
    square = torch.cat((torch.zeros(7, 2), sides[:, None].repeat(1, 2)), 1)
    assert roi.level_of(square, base, 4).tolist() == [0, 0, 1, 1, 2, 3, 3]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_a_box_that_is_no_place_is_pooled_without_a_crash(value: float) -> None:
    levels = [torch.randn(1, 3, 96 // s, 96 // s) for s in STRIDES]
    pooled = roi.pool_regions(levels, STRIDES, torch.full((1, 2, 4), value), PRESETS["small"])
    assert pooled.isfinite().all()
