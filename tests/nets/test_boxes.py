from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import box_iou, nms

from spnas.nets import boxes as bx


def random_boxes(count: int, seed: int, *, size: float = 100.0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=rng) * size
    return torch.cat((corner, corner + 1 + torch.rand(count, 2, generator=rng) * size / 2), 1)


@given(st.integers(0, 10**6))
def test_overlaps_are_torchvisions(seed: int) -> None:
    a, b = random_boxes(7, seed), random_boxes(5, seed + 1)
    assert torch.allclose(bx.overlaps(a, b), box_iou(a, b), atol=1e-6)


@given(st.integers(0, 10**6))
def test_decoding_undoes_encoding(seed: int) -> None:
    boxes, anchors = random_boxes(9, seed), random_boxes(9, seed + 1)
    weights = (10.0, 10.0, 5.0, 5.0)
    assert torch.allclose(bx.decode(bx.encode(boxes, anchors, weights), anchors, weights), boxes, atol=1e-2)


def test_empty_and_absurd_boxes_give_finite_numbers() -> None:
    empty = torch.zeros(1, 4)
    assert bx.overlaps(empty, empty).item() == 0
    assert bx.encode(random_boxes(1, 0), empty, (1.0, 1.0, 1.0, 1.0)).isfinite().all()
    huge = torch.full((1, 4), 1e6)
    assert bx.decode(huge, random_boxes(1, 0), (1.0, 1.0, 1.0, 1.0)).isfinite().all()


def test_padding_is_never_matched_and_the_best_anchor_of_an_object_always_is() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20], [50, 50, 60, 60]])
    truths = torch.tensor([[[0.0, 0, 10, 90], [50, 50, 60, 60]]])
    column, state = bx.assign(
        anchors, truths, torch.tensor([[True, False]]), positive=0.7, negative=0.15, best_too=True
    )
    assert state.tolist() == [[0, 1, 0]]
    assert column[0, 1] == 0


def test_between_the_thresholds_is_neither() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 5], [0, 0, 10, 9], [0, 0, 10, 1]])
    truths, real = torch.tensor([[[0.0, 0, 10, 10]]]), torch.tensor([[True]])
    _, state = bx.assign(anchors, truths, real, positive=0.7, negative=0.3, best_too=False)
    assert state.tolist() == [[-1, 1, 0]]


def crowd(seed: int, *, anchors: int = 60, truths: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Anchors, some of them twice, and truths of three pictures, of which some are padding."""
    rng = torch.Generator().manual_seed(seed)
    some = random_boxes(anchors // 2, seed)
    boxes = torch.stack([random_boxes(truths, seed + i) for i in range(3)])
    boxes[:, :2] = some[:2]  # what fits exactly, twice
    return torch.cat((some, some)), boxes, torch.rand(3, truths, generator=rng) > 0.3


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_assignment_in_slices_is_that_of_the_whole_table(seed: int, best_too: bool, shared: bool) -> None:
    anchors, truths, real = crowd(seed)
    table = bx.overlaps(anchors, truths) * real[:, None]
    best, column = table.max(-1)
    state = torch.full_like(column, -1)
    state[best < 0.3] = 0
    state[best >= 0.6] = 1
    if best_too:
        highest = table.amax(1, keepdim=True)
        state[((table == highest) & (highest > 1e-3) & real[:, None]).any(-1)] = 1
    given = anchors if shared else anchors.expand(3, -1, -1)
    for most in (1, 200, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bx, "MOST_CELLS", most)
            got = bx.assign(given, truths, real, positive=0.6, negative=0.3, best_too=best_too)
        assert torch.equal(got[0], column)
        assert torch.equal(got[1], state)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_what_is_covered_is_found_in_slices_too(seed: int) -> None:
    anchors, regions, real = crowd(seed)
    share = bx.intersections(anchors, regions) / bx.areas(anchors)[:, None]
    expected = ((share > 0.5) & real[:, None]).any(-1)
    for most in (1, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bx, "MOST_CELLS", most)
            assert torch.equal(bx.covered(anchors, regions, real, share=0.5), expected)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_no_table_of_a_crowded_picture_is_ever_made_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    anchors, truths, real = crowd(0, anchors=2000, truths=100)
    monkeypatch.setattr(bx, "MOST_CELLS", 9000)
    with Largest() as largest:
        bx.assign(anchors, truths, real, positive=0.6, negative=0.3, best_too=True)
        bx.covered(anchors, truths, real, share=0.5)
    assert 3 * 2000 <= largest.numel <= 9000


@given(st.integers(0, 10**6))
def test_groups_are_suppressed_each_by_itself(seed: int) -> None:
    boxes, scores = random_boxes(30, seed, size=40), torch.linspace(1, 0, 30)
    groups = torch.randint(0, 3, (30,), generator=torch.Generator().manual_seed(seed))
    kept = bx.suppress_in_groups(boxes[None], scores[None], groups[None], 0.5, span=torch.tensor(128))[0]
    for group in range(3):
        own = groups == group
        assert torch.equal(kept[own], bx.suppress(boxes[own][None], scores[own][None], 0.5)[0])


@given(st.integers(0, 10**6), st.integers(0, 30), st.integers(0, 30))
def test_a_sample_is_as_large_as_can_be_and_never_too_positive(seed: int, positives: int, negatives: int) -> None:
    state = torch.tensor([[1] * positives + [0] * negatives + [-1] * 5])
    drawn = bx.sample(state, 16, 0.25, torch.Generator().manual_seed(seed))
    assert ((drawn == 1) <= (state == 1)).all()
    assert ((drawn == 0) <= (state == 0)).all()
    hits = int((drawn == 1).sum())
    assert hits == min(4, positives)
    assert int((drawn == 0).sum()) == min(16 - hits, negatives)


@given(st.integers(0, 10**6))
def test_suppression_by_rows_is_torchvisions(seed: int) -> None:
    boxes, scores = random_boxes(20, seed, size=40), torch.linspace(1, 0, 20)
    scores[15:] = -torch.inf
    kept = bx.suppress(boxes[None], scores[None], 0.5)[0]
    expected = nms(boxes[:15], scores[:15], 0.5)
    assert kept.nonzero()[:, 0].tolist() == sorted(expected.tolist())
