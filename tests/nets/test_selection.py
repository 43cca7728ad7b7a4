"""Regions become detections by threshold, class-wise suppression and rank."""

import msgspec
import torch

from spnas.nets.selection import select
from spnas.nets.settings import PRESETS

SETTINGS = msgspec.structs.replace(PRESETS["small"], score_threshold=0.2, most_detections=4)
BOXES = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]]])
SCORES = torch.tensor([[[0.9, 0.3], [0.8, 0.4], [0.2, 0.1]]])


def test_the_best_of_a_class_suppresses_its_like_and_what_is_not_over_the_threshold_is_nothing() -> None:
    found = select(BOXES[:, :, None], SCORES, SETTINGS)
    assert found.labels.tolist() == [[0, 1, -1, -1]]
    assert torch.equal(found.scores, torch.tensor([[0.9, 0.4, 0, 0]]))
    assert torch.equal(found.boxes[0, :2], BOXES[0, :2])


def test_boxes_of_all_classes_are_the_same_box_for_each() -> None:
    shared = select(BOXES[:, :, None], SCORES, SETTINGS)
    each = select(BOXES[:, :, None].repeat(1, 1, 2, 1), SCORES, SETTINGS)
    assert all(torch.equal(a, b) for a, b in zip(shared, each, strict=True))


def test_a_class_has_its_own_box() -> None:
    boxes = torch.stack((BOXES, BOXES + 20), 2)
    found = select(boxes, SCORES, SETTINGS)
    assert torch.equal(found.boxes[0, :2], torch.stack((BOXES[0, 0], BOXES[0, 1] + 20)))


def test_no_more_are_kept_than_asked_for() -> None:
    found = select(BOXES[:, :, None], SCORES, msgspec.structs.replace(SETTINGS, most_detections=1))
    assert found.labels.tolist() == [[0]]
