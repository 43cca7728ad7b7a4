"""What every detector on the shelf keeps, whatever it is."""

import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import torch

from spnas.arch import Move, parse
from spnas.arch.move import apply_all, origins
from spnas.data.batches import Resize
from spnas.morph import inherit, kept_projections
from spnas.nets import detectors as shelf
from spnas.nets.backbone import Backbone
from spnas.nets.detectors import Detections
from spnas.nets.proposals import Targets
from spnas.nets.settings import PRESETS
from spnas.shelf import members, take
from spnas.train.loop import make_optimizer
from spnas.train.settings import TrainSettings
from spnas.train.weights import ModelConfig, load_model, save_model
from spnas.train.weights import build as build_from

ARCHS = {
    4: "basic: 8x1 / 16x1 / 32x1 / 64x1",
    5: "bottleneck conv: 8x1 / 8x1 / 16x1 / 16x1 32x1 / 32x1",
    6: "resnext: 16x1 / 32x1 / 32x1 / 64x1 / 64x1 / 128x1",
}
NAMES = members(shelf)
CASES = list(itertools.product(NAMES, ARCHS))
CLASSES = 3
SETTINGS = msgspec.structs.replace(PRESETS["small"], score_threshold=0.0)  # so that untrained nets find something
NOTHING_DRAWN = msgspec.structs.replace(SETTINGS, rpn_samples=100_000, roi_samples=10_000)  # all is used


def build(name: str, stages: int = 4, *, settings: Any = SETTINGS) -> Any:
    torch.manual_seed(0)
    kind: ModuleType = take(shelf, name)
    return kind.build(Backbone(parse(ARCHS[stages])), classes=CLASSES, settings=settings)


def pictures(count: int = 2) -> tuple[torch.Tensor, Targets, torch.Tensor]:
    torch.manual_seed(1)
    boxes = torch.tensor([[[8.0, 8, 40, 40], [30, 20, 60, 50], [0, 0, 0, 0]]]).repeat(count, 1, 1)
    labels = torch.tensor([[0, 2, -1]]).repeat(count, 1)
    return (
        torch.randn(count, 3, 64, 96),
        Targets(boxes, labels, torch.zeros_like(labels, dtype=torch.bool)),
        torch.tensor([[64, 80]] * count),
    )


def terms_of(
    detector: Any, targets: Targets, images: torch.Tensor, sizes: torch.Tensor, *, seed: int = 0
) -> dict[str, torch.Tensor]:
    terms: dict[str, torch.Tensor] = detector.loss(images, targets, sizes, torch.Generator().manual_seed(seed))
    assert all(term.shape == () and term.isfinite() for term in terms.values()), terms
    return terms


def total(detector: Any, targets: Targets, images: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    return torch.stack(list(terms_of(detector, targets, images, sizes).values())).sum()


def equal(a: Detections, b: Detections) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def with_region(targets: Targets) -> Targets:
    """The same, and a region to be ignored that holds every anchor."""
    count = len(targets.boxes)
    return Targets(
        torch.cat((targets.boxes, torch.tensor([-4e3, -4e3, 4e3, 4e3]).expand(count, 1, 4)), 1),
        torch.cat((targets.labels, torch.zeros(count, 1, dtype=torch.long)), 1),
        torch.cat((targets.ignore, torch.ones(count, 1, dtype=torch.bool)), 1),
    )


def without_objects(targets: Targets) -> Targets:
    return Targets(targets.boxes * 0, torch.full_like(targets.labels, -1), targets.ignore)


@pytest.mark.parametrize(("name", "stages"), CASES)
def test_every_parameter_gets_a_gradient(name: str, stages: int) -> None:
    detector = build(name, stages).train()
    images, targets, sizes = pictures()
    torch.autograd.backward(total(detector, targets, images, sizes))
    assert [n for n, p in detector.named_parameters() if p.grad is None] == []
    assert [n for n, p in detector.named_parameters() if not p.grad.isfinite().all()] == []


@pytest.mark.parametrize(("name", "stages"), CASES)
def test_detections_lie_inside_the_picture_best_first_with_known_labels(name: str, stages: int) -> None:
    detector = build(name, stages).eval()
    images, _, sizes = pictures()
    found = detector.detect(images, sizes)
    real = found.labels >= 0
    assert real.any()
    assert found.boxes.shape[:2] == found.scores.shape == found.labels.shape
    assert (found.labels < CLASSES).all()
    assert (found.scores.diff(dim=1) <= 0).all()
    assert (found.scores[~real] == 0).all()
    boxes = found.boxes[real]
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 80).all()
    assert (boxes[:, 3] <= 64).all()
    assert (boxes[:, 2:] >= boxes[:, :2]).all()


@pytest.mark.parametrize("name", NAMES)
def test_how_many_rows_are_answered_does_not_hang_on_what_is_found(name: str) -> None:
    detector = build(name, settings=PRESETS["small"]).eval()
    images, _, sizes = pictures()
    some, none = detector.detect(images, sizes), detector.detect(images * 0, sizes)
    assert [t.shape for t in some] == [t.shape for t in none]
    assert some.labels.shape[1] <= SETTINGS.most_detections


@pytest.mark.parametrize("name", NAMES)
def test_padding_of_targets_changes_nothing(name: str) -> None:
    """But which random number meets which region; so all of them are used."""
    detector = build(name, settings=NOTHING_DRAWN).train()
    images, targets, sizes = pictures()
    trimmed = Targets(*(t[:, :2] for t in targets))
    first, second = (terms_of(detector, t, images, sizes) for t in (targets, trimmed))
    assert {k: v.item() for k, v in first.items()} == pytest.approx({k: v.item() for k, v in second.items()}, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_without_objects_are_learned_from_too(name: str) -> None:
    detector = build(name).train()
    images, targets, sizes = pictures()
    loss = total(detector, without_objects(targets), images, sizes)
    assert loss > 0
    torch.autograd.backward(loss)
    assert all(p.grad is None or p.grad.isfinite().all() for p in detector.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_an_ignore_region_is_neither_object_nor_background(name: str) -> None:
    detector = build(name).train()
    images, targets, sizes = pictures()
    loss = total(detector, with_region(without_objects(targets)), images, sizes)
    torch.autograd.backward(loss)
    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in detector.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_objects_within_an_ignore_region_are_learned(name: str) -> None:
    """Only what is around them is not; so every term is there, and the loss is another one."""
    detector = build(name, settings=NOTHING_DRAWN).train()
    images, targets, sizes = pictures()
    plain, inside = terms_of(detector, targets, images, sizes), terms_of(detector, with_region(targets), images, sizes)
    assert all(term > 0 for term in inside.values())
    assert sum(inside.values()) != sum(plain.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_numbers_drawn_give_the_same_loss_and_gradients(name: str) -> None:
    images, targets, sizes = pictures()
    gradients = []
    for _ in range(2):
        detector = build(name).train()
        torch.autograd.backward(total(detector, targets, images, sizes))
        gradients.append([p.grad for p in detector.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_steps_on_the_same_pictures_lower_their_loss_and_leave_numbers(name: str) -> None:
    detector = build(name).train()
    optimizer = make_optimizer(detector, TrainSettings(rate=1e-3))
    images, targets, sizes = pictures()
    losses = []
    for _ in range(8):
        loss = total(detector, targets, images, sizes)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.isfinite().all() for p in detector.parameters())
    assert all(t.isfinite().all() for t in detector.eval().detect(images, sizes))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_pictures_give_the_same_detections_alone_or_together(name: str) -> None:
    detector = build(name).eval()
    images, _, sizes = pictures(3)
    together = detector.detect(images, sizes)
    alone = detector.detect(images[1:2], sizes[1:2])
    assert torch.allclose(together.boxes[1], alone.boxes[0], atol=1e-3)
    assert torch.equal(together.labels[1], alone.labels[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_detector_on_disk_finds_what_it_found(name: str, tmp_path: Path) -> None:
    config = ModelConfig(
        detector=name,
        arch=ARCHS[4],
        classes=("a", "b", "c"),
        category_ids=(1, 2, 3),
        settings=SETTINGS,
        resize=Resize(None, 96),
    )
    detector: Any = build_from(config, seed=1).eval()
    images, _, sizes = pictures()
    digest = save_model(tmp_path / "model.safetensors", detector, config)
    loaded, read = load_model(tmp_path / "model.safetensors", digest=digest)
    again: Any = loaded
    assert read == config
    assert equal(again.detect(images, sizes), detector.detect(images, sizes))


def child_of(parent: Any, name: str, move: Move, images: torch.Tensor) -> Any:
    moves, arch = (move,), parent.backbone.arch
    young, from_where = apply_all(arch, moves), origins(arch, moves)
    kept = kept_projections(parent.backbone, young, from_where)
    torch.manual_seed(1)
    child = take(shelf, name).build(Backbone(young, projections=kept), classes=CLASSES, settings=SETTINGS)
    inherit(child, parent, from_where, pictures=images)
    return child.eval()


@pytest.mark.parametrize(("name", "stages"), CASES)
def test_a_child_with_one_more_block_finds_what_its_parent_finds(name: str, stages: int) -> None:
    """To the bit."""
    parent = build(name, stages).eval()
    images, _, sizes = pictures()
    before = parent.detect(images, sizes)
    child = child_of(parent, name, Move("expand-block", 1, 1), images)
    assert len(child.backbone.blocks()) == len(parent.backbone.blocks()) + 1
    assert equal(child.detect(images, sizes), before)


@pytest.mark.parametrize("name", NAMES)
def test_a_child_with_one_more_stage_takes_over_all_that_its_parent_has_beside_the_backbone(name: str) -> None:
    parent = build(name, 4).eval()
    images, targets, sizes = pictures()
    with torch.no_grad():
        for parameter in parent.parameters():
            parameter.add_(0.01)  # so that none is what it would begin with
    child = child_of(parent, name, Move("expand-stage"), images)
    new, old = child.state_dict(), parent.state_dict()
    rest = [n for n in old if not n.startswith(("backbone.", "neck."))]
    assert rest
    assert [n for n in rest if not torch.equal(old[n], new[n])] == []
    total(child.train(), targets, images, sizes)


class Finding(torch.nn.Module):
    """A detector whose forward pass is `detect`."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.detector.detect(images, sizes))


@pytest.mark.filterwarnings("default")  # of torch's own, about its own
@pytest.mark.parametrize("name", NAMES)
def test_detecting_can_be_traced_and_tracing_leaves_nothing_behind(name: str) -> None:
    """Only suppression has shapes that hang on data."""
    detector = build(name).eval()
    images, _, sizes = pictures()
    traced = torch.export.export(Finding(detector), (images, sizes), strict=False)
    graphs = [m.graph for m in traced.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    called = {str(n.target) for graph in graphs for n in graph.nodes if n.op == "call_function"}
    assert "torchvision.nms.default" in called
    assert not {op for op in called if "nonzero" in op or "aten.item" in op or "_local_scalar" in op}
    after = detector.detect(images, sizes)
    assert equal(Detections(*traced.module()(images, sizes)), after)
