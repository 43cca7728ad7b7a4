"""Points stand for objects as the paper says, and a head that says the truth finds it."""

import itertools
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spnas.arch import parse
from spnas.nets import boxes as bx
from spnas.nets.anchors import anchors
from spnas.nets.backbone import Backbone
from spnas.nets.detectors import fcos
from spnas.nets.proposals import Targets
from spnas.nets.settings import PRESETS

SIZE = 128
STRIDES = (4, 8, 16, 32, 64)
SETTINGS = PRESETS["small"]
SIZES = torch.tensor([[SIZE, SIZE]] * 2)


def build(settings: Any = SETTINGS) -> Any:
    torch.manual_seed(0)
    return fcos.build(Backbone(parse("basic: 8x1 / 16x1 / 32x1 / 64x1")), classes=3, settings=settings)


def levels_of_cells() -> tuple[Tensor, ...]:
    return anchors(tuple((SIZE // s, SIZE // s) for s in STRIDES), STRIDES, 1.0, (1.0,))


def reach_of(detector: Any) -> Tensor:
    blank = torch.zeros(0)
    reach: Tensor = detector._reach([fcos.Guesses(blank, blank, blank, cells) for cells in levels_of_cells()])
    return reach


def random_truths(seed: int, *, count: int = 5) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    side = 4 + torch.rand(2, count, 2, generator=rng) ** 2 * 110
    corner = torch.rand(2, count, 2, generator=rng) * (SIZE - side)
    return torch.cat((corner, corner + side), -1), torch.rand(2, count, generator=rng) > 0.2


def test_a_level_reaches_as_far_as_in_the_paper() -> None:
    """Of the paper's levels, strides 8 to 64: 0-64, 64-128, 128-256, 256-512; ours begin at stride 4."""
    reach = reach_of(build(PRESETS["standard"]))
    starts = itertools.accumulate((len(c) for c in levels_of_cells()[:-1]), initial=0)
    assert [reach[start].tolist() for start in starts] == [
        [0, 32],
        [32, 64],
        [64, 128],
        [128, 256],
        [256, float("inf")],
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_matching_is_the_papers_rule_point_by_point(seed: int) -> None:
    cells, reach = torch.cat(levels_of_cells()), reach_of(build())
    truths, real = random_truths(seed)
    column, hit = fcos.match(cells, reach, truths, real)
    rng = torch.Generator().manual_seed(seed)
    some = torch.cat((hit[0].nonzero()[:6, 0], torch.randint(0, len(cells), (6,), generator=rng))).tolist()
    for index in some:
        x, y = ((cells[index, :2] + cells[index, 2:]) / 2).tolist()
        radius = 1.5 * float(cells[index, 2] - cells[index, 0])
        low, high = reach[index].tolist()
        stands = []
        for number, (left, top, right, bottom) in enumerate(truths[0].tolist()):
            sides = (x - left, y - top, right - x, bottom - y)
            central = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2)) < radius
            if real[0, number] and min(sides) > 0 and central and low <= max(sides) <= high:
                stands.append(((right - left) * (bottom - top), number))
        assert bool(hit[0, index]) == bool(stands)
        if stands:
            assert int(column[0, index]) == min(stands)[1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_matching_in_slices_is_matching(seed: int) -> None:
    cells, reach = torch.cat(levels_of_cells()), reach_of(build())
    truths, real = random_truths(seed)
    whole = fcos.match(cells, reach, truths, real)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bx, "MOST_CELLS", 997)
        parts = fcos.match(cells, reach, truths, real)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_centreness_is_one_in_the_middle_and_nothing_at_a_side() -> None:
    box = torch.tensor([[0.0, 0, 8, 8]]).repeat(4, 1)
    points = torch.tensor([[4.0, 4], [0, 4], [2, 4], [2, 2]])
    expected = [1, 0, (2 / 6) ** 0.5, 2 / 6]
    assert fcos.centreness_of(points, box).tolist() == pytest.approx(expected)


def truthful(targets: Targets, detector: Any) -> list[fcos.Guesses]:
    """Return what a head would say that knows the truth."""
    cells = torch.cat(levels_of_cells())
    column, hit = fcos.match(cells, reach_of(detector), targets.boxes, targets.real)
    matched = targets.boxes.gather(1, column[..., None].expand(-1, -1, 4))
    points, stride = (cells[:, :2] + cells[:, 2:]) / 2, cells[:, 2:] - cells[:, :2]
    distances = torch.cat(((points - matched[..., :2]) / stride, (matched[..., 2:] - points) / stride), -1)
    centreness = fcos.centreness_of(points.repeat(2, 1), matched.flatten(0, 1)).reshape(hit.shape)
    scores = torch.full((*hit.shape, 3), -20.0)
    labels = targets.labels.gather(1, column)
    scores.scatter_(2, labels.clamp(min=0)[..., None], torch.where(hit, 20.0, -20.0)[..., None])
    counts = [len(c) for c in levels_of_cells()]
    parts = [t.split(counts, 1) for t in (scores, distances, centreness.logit(eps=1e-6))]
    return [fcos.Guesses(*level, made) for *level, made in zip(*parts, levels_of_cells(), strict=True)]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Targets]:
    """A detector whose head says the truth of two pictures, and the truth."""
    boxes = torch.tensor([[[10.0, 12, 30, 40], [50, 50, 120, 110]], [[60, 8, 100, 30], [0, 0, 0, 0]]])
    targets = Targets(boxes, torch.tensor([[0, 2], [1, -1]]), torch.zeros(2, 2, dtype=torch.bool))
    detector = build()
    said = truthful(targets, detector)
    monkeypatch.setattr(detector.head, "forward", lambda *_: said)
    return detector, targets


def test_a_head_that_says_the_truth_finds_every_object_once(known: tuple[Any, Targets]) -> None:
    detector, targets = known
    found = detector.eval().detect(torch.zeros(2, 3, SIZE, SIZE), SIZES)
    for picture in range(2):
        rows, real = found.labels[picture] >= 0, targets.labels[picture] >= 0
        order = found.labels[picture, rows].argsort()
        assert torch.equal(found.labels[picture, rows][order], targets.labels[picture, real])
        assert torch.allclose(found.boxes[picture, rows][order], targets.boxes[picture, real], atol=1e-3)


def test_a_head_that_says_the_truth_has_next_to_no_loss(known: tuple[Any, Targets]) -> None:
    """Of centreness, what is left is the entropy of a share."""
    detector, targets = known
    terms = detector.train().loss(torch.zeros(2, 3, SIZE, SIZE), targets, SIZES, torch.Generator())
    assert terms["class"] < 1e-6
    assert terms["boxes"] < 1e-5
    assert 0 < terms["centreness"] < 0.7


def test_boxes_count_by_how_central_their_points_are(known: tuple[Any, Targets]) -> None:
    """All distances a fifth too long, up and left of points only, so that the overlaps differ."""
    detector, targets = known
    longer = torch.tensor([1.2, 1.2, 1, 1])
    said = [level._replace(distances=level.distances * longer) for level in detector.head.forward()]
    detector.head.forward = lambda *_: said
    loss = detector.train().loss(torch.zeros(2, 3, SIZE, SIZE), targets, SIZES, torch.Generator())["boxes"]
    column, hit = fcos.match(torch.cat(levels_of_cells()), reach_of(detector), targets.boxes, targets.real)
    truths = targets.boxes.gather(1, column[..., None].expand(-1, -1, 4))[hit]
    cells = torch.cat(levels_of_cells()).expand(2, -1, 4)[hit]
    points = (cells[:, :2] + cells[:, 2:]) / 2
    larger = torch.cat((points - 1.2 * (points - truths[:, :2]), truths[:, 2:]), 1)
    share = 1 - bx.areas(truths) / bx.areas(larger)  # each truth lies in its box, so GIoU is plain IoU
    central = torch.cat([level.centreness for level in said], 1).sigmoid()[hit]
    assert loss.item() == pytest.approx(((share * central).sum() / central.sum()).item(), rel=1e-3)
    assert loss.item() != pytest.approx(share.mean().item(), rel=1e-2)


def test_classes_do_not_suppress_each_other(known: tuple[Any, Targets]) -> None:
    detector, targets = known
    twice = Targets(targets.boxes[:, [0, 0]], torch.tensor([[0, 2], [1, 2]]), targets.ignore)
    said = truthful(twice, detector)
    for level in said:
        level.scores[..., 2] = level.scores[..., :2].amax(-1)
    detector.head.forward = lambda *_: said
    found = detector.eval().detect(torch.zeros(2, 3, SIZE, SIZE), SIZES)
    assert [sorted(row[row >= 0].tolist()) for row in found.labels] == [[0, 2], [1, 2]]


def test_a_score_is_the_mean_of_class_and_centreness(known: tuple[Any, Targets]) -> None:
    """The geometric one."""
    detector, _ = known
    for level in detector.head.forward():
        level.centreness.fill_(torch.tensor(0.25).logit())
    found = detector.eval().detect(torch.zeros(2, 3, SIZE, SIZE), SIZES)
    assert found.scores[found.labels >= 0].tolist() == pytest.approx([0.5] * 3)


def test_nothing_is_found_beyond_the_edge_of_a_picture(known: tuple[Any, Targets]) -> None:
    detector, targets = known
    found = detector.eval().detect(torch.zeros(2, 3, SIZE, SIZE), torch.tensor([[48, 48]] * 2))
    assert (found.labels >= 0).sum(1).tolist() == [1, 0]
    assert torch.allclose(found.boxes[0, 0], targets.boxes[0, 0], atol=1e-3)


def test_a_head_gone_wild_still_gives_boxes() -> None:
    detector = build()
    torch.nn.init.constant_(detector.head.distances.bias, 1e4)
    said = detector.head([torch.zeros(1, SETTINGS.fpn_channels, SIZE // s, SIZE // s) for s in STRIDES], STRIDES)
    assert all(level.distances.isfinite().all() for level in said)


def test_settings_say_how_deep_the_towers_are() -> None:
    depths = [msgspec.structs.replace(SETTINGS, tower_depth=d) for d in (0, 3)]
    convs = [sum(p.ndim == 4 for p in build(s).head.parameters()) for s in depths]
    assert convs == [3, 9]
