"""A cascade of one stage is Faster R-CNN, and every further stage works on what the one before it made."""

import itertools
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from spnas.arch import parse
from spnas.nets import boxes as bx
from spnas.nets.backbone import Backbone
from spnas.nets.detectors import cascade_rcnn, faster_rcnn
from spnas.nets.proposals import Targets
from spnas.nets.regions import Regions
from spnas.nets.settings import CASCADE, PRESETS

SMALL = msgspec.structs.replace(PRESETS["small"], score_threshold=0.0)
ONE = msgspec.structs.replace(SMALL, cascade=CASCADE[:1], cascade_by_class=True)
SIZES = torch.tensor([[64, 80]] * 2)


def build(kind: Any, settings: Any, *, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return kind.build(Backbone(parse("basic: 8x1 / 16x1 / 32x1 / 64x1")), classes=3, settings=settings)


def batch(*, ignore: bool = False) -> tuple[torch.Tensor, Targets]:
    boxes = torch.tensor([[[8.0, 8, 40, 40], [30, 20, 60, 50], [0, 0, 30, 64]]]).repeat(2, 1, 1)
    labels = torch.tensor([[0, 2, 1], [1, -1, -1]])
    flags = torch.tensor([[False, False, ignore], [False] * 3])
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)), Targets(boxes, labels, flags)


@pytest.fixture
def pair() -> tuple[Any, Any]:
    """Both detectors with the same weights, those of heads large enough to move boxes."""
    faster, cascade = build(faster_rcnn, SMALL), build(cascade_rcnn, ONE, seed=1)
    with torch.no_grad():
        faster.head.offsets.weight.mul_(100)
        faster.head.scores.weight.mul_(20)
    weights = {name.replace("head.", "heads.0.", 1): value for name, value in faster.state_dict().items()}
    cascade.load_state_dict(weights)
    return faster, cascade


@pytest.mark.parametrize("ignore", [False, True])
def test_a_cascade_of_one_stage_has_the_loss_and_gradients_of_faster_rcnn(pair: tuple[Any, Any], ignore: bool) -> None:
    images, targets = batch(ignore=ignore)
    terms = [d.train().loss(images, targets, SIZES, torch.Generator().manual_seed(3)) for d in pair]
    assert [f"{name}_1" if "rpn" not in name else name for name in terms[0]] == list(terms[1])
    assert [t.item() for t in terms[0].values()] == [t.item() for t in terms[1].values()]
    for found in terms:
        torch.autograd.backward(torch.stack(list(found.values())).sum())
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(*(d.parameters() for d in pair), strict=True))


def test_a_cascade_of_one_stage_finds_what_faster_rcnn_finds(pair: tuple[Any, Any]) -> None:
    images, _ = batch()
    found = [d.eval().detect(images, SIZES) for d in pair]
    assert (found[0].labels >= 0).sum() > 10
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


GOALS = torch.tensor([[10.0, 10, 30, 30], [12, 14, 36, 40], [20, 16, 60, 50]])
LOGITS = torch.tensor([[2.0, 0, 0, 1], [0, 3, 0, 0], [1, 1, 0, 4]])


class Pointer(nn.Module):
    """A head that moves every box to one goal and always says the same of it; it notes the boxes that it was given."""

    def __init__(self, stage: int) -> None:
        super().__init__()
        self.stage, self.given = stage, torch.zeros(0)

    def forward(self, levels: list[torch.Tensor], boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert len(levels) == 5
        self.given = boxes
        offsets = bx.encode(GOALS[self.stage].expand_as(boxes), boxes, CASCADE[self.stage].code_weights)
        return LOGITS[self.stage].expand(boxes[..., 0].numel(), 4), offsets.reshape(-1, 1, 4)


@pytest.fixture
def pointing() -> Any:
    detector = build(cascade_rcnn, SMALL)
    detector.heads = nn.ModuleList(Pointer(stage) for stage in range(3))
    return detector


def test_every_stage_is_given_the_boxes_of_the_one_before_and_scores_are_their_mean(pointing: Any) -> None:
    found = pointing.eval().detect(batch()[0], SIZES)
    for stage in (1, 2):
        given = pointing.heads[stage].given
        assert torch.allclose(given, GOALS[stage - 1].expand_as(given), atol=1e-3)
    expected = LOGITS.softmax(-1).mean(0)[:3].sort(descending=True)
    for picture in range(2):  # all boxes are one, and so one of each class is left
        real = found.labels[picture] >= 0
        assert found.labels[picture, real].tolist() == expected.indices.tolist()
        assert found.scores[picture, real].tolist() == pytest.approx(expected.values.tolist())
        assert torch.allclose(found.boxes[picture, real], GOALS[2].expand(3, 4), atol=1e-3)


def test_in_training_a_stage_draws_from_the_boxes_of_the_one_before(pointing: Any) -> None:
    images, targets = batch()
    pointing.train().loss(images, targets, SIZES, torch.Generator().manual_seed(0))
    truths = targets.boxes[targets.real]
    for stage in (1, 2):
        given = pointing.heads[stage].given.reshape(-1, 4)
        known = torch.cat((GOALS[stage - 1 : stage], truths))
        assert ((given[:, None] - known).abs().amax(-1).amin(1) < 1e-3).all()
        assert ((given - GOALS[stage - 1]).abs().amax(-1) < 1e-3).any()


def test_each_stage_draws_with_its_overlap_from_refined_boxes_and_clean_ground_truths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detector = build(cascade_rcnn, msgspec.structs.replace(SMALL, roi_samples=200)).train()
    seen: list[tuple[float, torch.Tensor, Regions]] = []
    real_draw = cascade_rcnn.draw

    def watched(boxes: torch.Tensor, valid: torch.Tensor, **rest: Any) -> Regions:
        regions = real_draw(boxes, valid, **rest)
        seen.append((rest["overlap"], valid, regions))
        return regions

    monkeypatch.setattr(cascade_rcnn, "draw", watched)
    images, targets = batch()
    detector.loss(images, targets, SIZES, torch.Generator().manual_seed(0))
    assert [overlap for overlap, _, _ in seen] == [0.5, 0.6, 0.7]
    for overlap, _, regions in seen:
        given = regions.given & (regions.state == 1)
        assert given.sum(1).tolist() == [3, 1]
        hit = regions.state == 1
        truths = targets.boxes.gather(1, regions.column[..., None].expand(-1, -1, 4))
        own = bx.overlaps(regions.boxes[:, :, None], truths[:, :, None])[..., 0, 0]
        assert (own[hit] >= overlap).all()
        assert (own[regions.state == 0] < overlap).all()
    for (_, _, before), (_, valid, _) in itertools.pairwise(seen):
        assert (valid <= ((before.state >= 0) & ~before.given)).all()


def test_a_later_stage_counts_by_its_weight() -> None:
    heavy = tuple(msgspec.structs.replace(stage, loss_weight=2 * stage.loss_weight) for stage in CASCADE)
    images, targets = batch()
    plain, doubled = (
        build(cascade_rcnn, msgspec.structs.replace(SMALL, cascade=stages))
        .train()
        .loss(images, targets, SIZES, torch.Generator().manual_seed(0))
        for stages in (CASCADE, heavy)
    )
    for name, term in plain.items():
        assert doubled[name].item() == (term if "rpn" in name else 2 * term).item()
