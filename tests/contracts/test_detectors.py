"""What every detector on the shelf keeps, whatever it is."""

import itertools
from types import ModuleType

import pytest
import torch
from torch import nn

from spnas.arch import parse
from spnas.nets import detectors as shelf
from spnas.nets.backbone import Backbone
from spnas.nets.proposals import Targets
from spnas.nets.settings import PRESETS
from spnas.shelf import members, take

ARCHS = {
    4: "basic: 8x1 / 16x1 / 32x1 / 64x1",
    5: "bottleneck conv: 8x1 / 8x1 / 16x1 / 16x1 32x1 / 32x1",
    6: "resnext: 16x1 / 32x1 / 32x1 / 64x1 / 64x1 / 128x1",
}
CASES = list(itertools.product(members(shelf), ARCHS))
CLASSES = 3


def build(name: str, stages: int) -> nn.Module:
    torch.manual_seed(0)
    kind: ModuleType = take(shelf, name)
    detector: nn.Module = kind.build(Backbone(parse(ARCHS[stages])), classes=CLASSES, settings=PRESETS["small"])
    return detector


def pictures(count: int = 2) -> tuple[torch.Tensor, Targets, torch.Tensor]:
    torch.manual_seed(1)
    boxes = torch.tensor([[[8.0, 8, 40, 40], [30, 20, 60, 50], [0, 0, 0, 0]]]).repeat(count, 1, 1)
    labels = torch.tensor([[0, 2, -1]]).repeat(count, 1)
    return (
        torch.randn(count, 3, 64, 96),
        Targets(boxes, labels, torch.zeros_like(labels, dtype=torch.bool)),
        torch.tensor([[64, 80]] * count),
    )


def loss(detector: nn.Module, targets: Targets, images: torch.Tensor, sizes: torch.Tensor) -> dict[str, torch.Tensor]:
    terms: dict[str, torch.Tensor] = detector.loss(images, targets, sizes, torch.Generator().manual_seed(0))  # type: ignore[operator]
    return terms


@pytest.mark.parametrize(("name", "stages"), CASES)
def test_every_parameter_gets_a_gradient(name: str, stages: int) -> None:
    detector = build(name, stages).train()
    images, targets, sizes = pictures()
    terms = loss(detector, targets, images, sizes)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    assert all(term.isfinite() for term in terms.values())
    assert [n for n, p in detector.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("name", "stages"), CASES)
def test_detections_lie_inside_the_picture_best_first_with_known_labels(name: str, stages: int) -> None:
    detector = build(name, stages).eval()
    images, _, sizes = pictures()
    found = detector.detect(images, sizes)  # type: ignore[operator]
    real = found.labels >= 0
    assert found.boxes.shape[:2] == found.scores.shape == found.labels.shape
    assert (found.labels < CLASSES).all()
    assert (found.scores.diff(dim=1) <= 0).all()
    assert (found.scores[~real] == 0).all()
    boxes = found.boxes[real]
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 80).all()
    assert (boxes[:, 3] <= 64).all()
    assert (boxes[:, 2:] >= boxes[:, :2]).all()


@pytest.mark.parametrize("name", members(shelf))
def test_padding_of_targets_changes_nothing(name: str) -> None:
    detector = build(name, 4).train()
    images, targets, sizes = pictures()
    trimmed = Targets(*(t[:, :2] for t in targets))
    first, second = loss(detector, targets, images, sizes), loss(detector, trimmed, images, sizes)
    # padding shifts which random keys meet which proposal, so only what does not hang on drawing is equal
    assert first["rpn_objectness"].item() == pytest.approx(second["rpn_objectness"].item(), rel=1e-5)


@pytest.mark.parametrize("name", members(shelf))
def test_pictures_without_objects_are_learned_from_too(name: str) -> None:
    detector = build(name, 4).train()
    images, targets, sizes = pictures()
    bare = Targets(targets.boxes * 0, torch.full_like(targets.labels, -1), targets.ignore)
    terms = loss(detector, bare, images, sizes)
    assert all(term.isfinite() for term in terms.values())
    assert sum(float(t.detach()) for t in terms.values()) > 0


@pytest.mark.parametrize("name", members(shelf))
def test_an_ignore_region_is_neither_object_nor_background(name: str) -> None:
    detector = build(name, 4).train()
    images, targets, sizes = pictures()
    whole = torch.tensor([[[0.0, 0, 96, 64]]]).repeat(2, 1, 1)
    ignored = Targets(whole, torch.zeros(2, 1, dtype=torch.long), torch.ones(2, 1, dtype=torch.bool))
    terms = loss(detector, ignored, images, sizes)
    assert float(terms["rpn_offsets"].detach()) == 0
    objects_only = float(loss(detector, targets, images, sizes)["rpn_objectness"].detach())
    assert float(terms["rpn_objectness"].detach()) <= objects_only


@pytest.mark.parametrize("name", members(shelf))
def test_the_same_pictures_give_the_same_detections_alone_or_together(name: str) -> None:
    detector = build(name, 4).eval()
    images, _, sizes = pictures(3)
    together = detector.detect(images, sizes)  # type: ignore[operator]
    alone = detector.detect(images[1:2], sizes[1:2])  # type: ignore[operator]
    assert torch.allclose(together.boxes[1], alone.boxes[0], atol=1e-3)
    assert torch.equal(together.labels[1], alone.labels[0])
