import torch
from hypothesis import given
from hypothesis import strategies as st
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
    overlap = torch.tensor([[[0.1, 0.9], [0.2, 0.95], [0.0, 0.3]]])
    real = torch.tensor([[True, False]])
    column, state = bx.assign(overlap, real, positive=0.7, negative=0.15, best_too=True)
    assert state.tolist() == [[0, 1, 0]]
    assert column[0, 1] == 0


def test_between_the_thresholds_is_neither() -> None:
    overlap = torch.tensor([[[0.5], [0.9]]])
    _, state = bx.assign(overlap, torch.tensor([[True]]), positive=0.7, negative=0.3, best_too=False)
    assert state.tolist() == [[-1, 1]]


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
