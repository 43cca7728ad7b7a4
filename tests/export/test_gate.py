"""What counts as the same detections."""

import numpy as np
import pytest
import torch
from tests.export.conftest import ARCHS, lively, pictures

from spnas.errors import IntegrityError
from spnas.export.gate import (
    ASKED_AGAIN,
    BOX_PX,
    SCORE,
    Drift,
    Seen,
    ask_again,
    compare,
    drift,
    partners,
    refuse_drift,
    torch_look,
)
from spnas.export.gate import seen as seen_in
from spnas.export.session import Rows

BOXES = np.array([[0, 0, 10, 10], [20, 20, 40, 40], [50, 5, 60, 25.0]])
SCORES = np.array([0.9, 0.9, 0.3])
LABELS = np.array([0, 1, 1])


def seen(boxes: object = BOXES, scores: object = SCORES, labels: object = LABELS, *, floor: float = 0.05) -> Seen:
    return Seen(np.array(boxes, np.float64), np.array(scores, np.float64), np.array(labels), floor)


def test_the_order_of_equal_scores_does_not_matter() -> None:
    """All find their partners."""
    order = [1, 0, 2]
    found = compare([seen()], seen(BOXES[order], SCORES[order], LABELS[order]))
    assert (found.matched, found.lost, found.extra, found.box_px, found.score) == (3, 0, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("boxes", "scores", "labels"),
    [
        (BOXES + 1.5 * BOX_PX, SCORES, LABELS),
        (BOXES, SCORES + 1.5 * SCORE, LABELS),
        (BOXES, SCORES, LABELS + 1),
    ],
)
def test_another_box_score_or_label_is_another_detection(boxes: object, scores: object, labels: object) -> None:
    """Lost on one side, extra on the other."""
    found = compare([seen()], seen(boxes, scores, labels))
    assert (found.lost, found.extra) == (3, 3)


def test_within_the_limits_they_are_the_same_and_the_distance_is_told() -> None:
    """Half of what is allowed."""
    found = compare([seen()], seen(BOXES + BOX_PX / 2, SCORES - SCORE / 2))
    assert (found.matched, found.lost, found.extra) == (3, 0, 0)
    assert found.box_px == pytest.approx(BOX_PX / 2)
    assert found.score == pytest.approx(SCORE / 2)


def test_a_partner_is_for_one_only() -> None:
    """Two equal detections on one side need two on the other; the nearest pairs come first."""
    twice = seen(BOXES[[0, 0]], SCORES[[0, 0]], LABELS[[0, 0]])
    once = seen(BOXES[:1], SCORES[:1], LABELS[:1])
    assert compare([twice], once).lost == 1
    assert compare([once], twice).extra == 1
    near = seen(BOXES[[0, 0]] + [[0.004], [0.0]], SCORES[[0, 0]], LABELS[[0, 0]])
    assert partners(near, twice).tolist() == [1, 0]


def test_what_barely_made_it_needs_no_partner() -> None:
    """A score less than `SCORE` above the threshold."""
    barely = seen([*BOXES, [1, 1, 9, 9]], [*SCORES, 0.05], [*LABELS, 0])
    assert compare([barely], seen()).lost == 0
    assert compare([seen()], barely).extra == 0
    assert compare([seen([*BOXES, [1, 1, 9, 9]], [*SCORES, 0.0502], [*LABELS, 0])], seen()).lost == 1


def rows(boxes: object, scores: object, labels: object) -> Rows:
    return Rows(np.array([boxes], np.float32), np.array([scores], np.float32), np.array([labels]))


FEED = (np.zeros((1, 3, 4, 4), np.float32), np.array([[4, 4]]))
OURS = rows([[0, 0, 10, 10], [20, 20, 40, 40]], [0.9, 0.5], [0, 1])
OTHER = rows([[0, 0, 10, 10], [21, 20, 40, 40]], [0.9, 0.5], [0, 1])


def test_the_last_of_a_full_list_needs_no_partner() -> None:
    """Another one of nearly the same score may have pushed it out."""
    found = drift(FEED, OURS, OTHER, again=lambda _: (), threshold=0.05)
    assert (found.lost, found.extra, found.matched) == (0, 0, 1)


def with_room(*, shift: float) -> Rows:
    boxes = [[0, 0, 10, 10], [20 + shift, 20, 40, 40], [0, 0, 0, 0]]
    return rows(boxes, [0.9, 0.5, 0], [0, 1, -1])


def test_what_the_detector_itself_does_not_know_counts_as_either() -> None:
    """It says now the one, now the other, and the graph says either; a third is refused."""
    ours, other, third = with_room(shift=0), with_room(shift=1), with_room(shift=2)
    found = drift(FEED, ours, other, again=lambda _: [ours, other], threshold=0.05)
    assert (found.lost, found.extra, found.undecided) == (0, 0, 1)
    for again in ([], [ours, ours]):
        found = drift(FEED, ours, other, again=lambda _, told=again: told, threshold=0.05)
        assert (found.lost, found.extra, found.undecided) == (1, 1, 0)
    found = drift(FEED, ours, third, again=lambda _: [ours, other], threshold=0.05)
    assert found.extra == 1


@pytest.mark.parametrize("kind", ARCHS)
def test_a_detector_that_is_asked_again_says_nearly_the_same(kind: str) -> None:
    """In double precision and about noise below one step of brightness; afterwards it is as it was."""
    net = lively(kind)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    feed = pictures(1)
    first, answers = torch_look(net)(*feed), list(ask_again(net)(feed))
    assert len(answers) == 1 + ASKED_AGAIN
    found = [compare([seen_in(first, 0, 0.05)], seen_in(rows, 0, 0.05)) for rows in answers]
    assert all(one.matched > 0.9 * (first.labels >= 0).sum() for one in found)
    assert any(one.score > 0 for one in found)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_drift_is_refused_with_its_numbers() -> None:
    """In one line."""
    refuse_drift(Drift(pictures=2, matched=5, undecided=1), name="a.onnx")
    drifted = Drift(pictures=1, matched=4, box_px=0.009, lost=1) + Drift(pictures=1, box_px=0.001, extra=2)
    message = (
        r"^a\.onnx: .*4 detections in 2 pictures: boxes within 0\.009 px, .*1 lost, 2 extra; .*nothing was written"
    )
    with pytest.raises(IntegrityError, match=message):
        refuse_drift(drifted, name="a.onnx")
