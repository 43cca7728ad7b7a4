"""Regions are drawn, learned from and refined as both two-stage detectors need them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spnas.nets import boxes as bx
from spnas.nets.proposals import Targets
from spnas.nets.regions import POSITIVE_SHARE, Regions, conclude, draw, refine, region_loss
from spnas.nets.settings import PRESETS

CODE = (10.0, 10.0, 5.0, 5.0)
SIZES = torch.tensor([[100, 100]] * 2)


def scene(*, ignore: bool = False) -> tuple[Tensor, Tensor, Targets]:
    """Two pictures of an object each at (10, 10, 50, 50), near and far proposals, the last of them no proposal; and
    to the right a region that is to be ignored, or is padding."""
    rng = torch.Generator().manual_seed(0)
    near = torch.tensor([10.0, 10, 50, 50]) + torch.rand(2, 10, 4, generator=rng) * 4
    far = torch.tensor([60.0, 0, 80, 20]) + torch.rand(2, 30, 4, generator=rng) * 10
    valid = torch.ones(2, 40, dtype=torch.bool)
    valid[:, -1] = False
    truths = torch.tensor([[[10.0, 10, 50, 50], [55, 0, 100, 100]]] * 2)
    labels = torch.tensor([[1, 0 if ignore else -1]] * 2)
    return torch.cat((near, far), 1), valid, Targets(truths, labels, torch.tensor([[False, ignore]] * 2))


def drawn_of(*, overlap: float = 0.5, count: int = 16, ignore: bool = False) -> tuple[Regions, Targets]:
    boxes, valid, targets = scene(ignore=ignore)
    rng = torch.Generator().manual_seed(1)
    return draw(boxes, valid, targets=targets, overlap=overlap, count=count, rng=rng), targets


def test_objects_come_first_up_to_their_share_then_background() -> None:
    regions, _ = drawn_of()
    assert regions.state.tolist() == [[1] * 4 + [0] * 12] * 2
    assert int(16 * POSITIVE_SHARE) == 4
    assert (regions.column[regions.state == 1] == 0).all()


def test_with_room_for_all_nothing_is_left_out_and_ground_truths_are_among_them() -> None:
    regions, targets = drawn_of(count=400)
    assert (regions.state == 1).sum(1).tolist() == [11, 11]
    assert (regions.state == 0).sum(1).tolist() == [29, 29]
    assert regions.given.sum(1).tolist() == [2, 2]
    given = regions.given & (regions.state == 1)
    assert torch.equal(regions.boxes[given], targets.boxes[:, 0])


def test_a_stricter_overlap_leaves_fewer_objects() -> None:
    count = [int((drawn_of(overlap=o, count=400)[0].state == 1).sum()) for o in (0.5, 0.9, 1.0)]
    assert count[0] > count[1] > count[2] == 2  # the ground truths themselves


def test_nothing_in_an_ignore_region_is_background() -> None:
    regions, _ = drawn_of(count=400, ignore=True)
    assert (regions.state == 0).sum() == 0
    assert (regions.state == 1).sum() == 22


@pytest.mark.parametrize("by_class", [True, False])
def test_a_head_that_is_right_has_no_loss(by_class: bool) -> None:
    regions, targets = drawn_of()
    labels = torch.where(regions.state == 1, 1, 3).flatten()
    scores = torch.full((32, 4), -50.0).scatter(1, labels[:, None], 50.0)
    offsets = torch.zeros(32, 3 if by_class else 1, 4)
    offsets[:, 1 if by_class else 0] = bx.encode(targets.boxes[:, :1], regions.boxes, CODE).flatten(0, 1)
    terms = region_loss(scores, offsets, regions=regions, targets=targets, code_weights=CODE)
    assert {name: term.item() for name, term in terms.items()} == {"class": 0, "offsets": 0}
    wrong = region_loss(scores.flip(1), offsets + 1, regions=regions, targets=targets, code_weights=CODE)
    assert all(term > 0.1 for term in wrong.values())


@pytest.mark.parametrize("by_class", [True, False])
def test_boxes_are_refined_by_the_offsets_of_the_likeliest_class(by_class: bool) -> None:
    regions, targets = drawn_of()
    scores = torch.zeros(32, 4)
    scores[:, 1], scores[:, 3] = 1, 9  # the last is background, which has no box
    offsets: Any = torch.randn(32, 3 if by_class else 1, 4)
    offsets[:, 1 if by_class else 0] = bx.encode(targets.boxes[:, :1], regions.boxes, CODE).flatten(0, 1)
    moved = refine(regions.boxes, scores, offsets, code_weights=CODE, sizes=SIZES)
    assert torch.allclose(moved, targets.boxes[:, :1].expand_as(moved), atol=1e-3)


def test_refined_boxes_stay_in_the_picture() -> None:
    regions, _ = drawn_of()
    offsets = torch.randn(32, 1, 4, generator=torch.Generator().manual_seed(2)) * 100
    moved = refine(regions.boxes, torch.zeros(32, 4), offsets, code_weights=CODE, sizes=SIZES // 2)
    assert (moved >= 0).all()
    assert (moved <= 50).all()


def test_nothing_is_found_in_regions_that_are_none() -> None:
    boxes, _, _ = scene()
    valid = torch.zeros(2, 40, dtype=torch.bool)
    valid[1, 12] = True
    found = conclude(
        boxes,
        valid,
        probabilities=torch.tensor([0.1, 0.6, 0.0, 0.3]).expand(80, 4),
        offsets=torch.zeros(80, 1, 4),
        code_weights=CODE,
        sizes=SIZES,
        settings=PRESETS["small"],
    )
    assert (found.labels >= 0).sum(1).tolist() == [0, 2]
    assert found.labels[1, :2].tolist() == [1, 0]
    assert found.scores[1, :2].tolist() == pytest.approx([0.6, 0.1])
    assert torch.allclose(found.boxes[1, 0], boxes[1, 12], atol=1e-4)
