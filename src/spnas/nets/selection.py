"""From scored boxes to detections, in tensors whose shapes do not hang on what is found: -inf stands for nothing."""

import torch
from torch import Tensor

from spnas.nets import boxes as bx
from spnas.nets.detectors import Detections
from spnas.nets.settings import DetectorSettings


def select(boxes: Tensor, scores: Tensor, settings: DetectorSettings) -> Detections:
    """Return what survives threshold and class-wise NMS of regions with a score for every class.

    Shapes: boxes (N, P, classes, 4), or (N, P, 1, 4) where classes share them; scores (N, P, classes).
    """
    n, p, c = scores.shape
    ranked, order = scores.transpose(1, 2).reshape(n * c, p).sort(dim=1, descending=True, stable=True)
    by_class = boxes.expand(n, p, c, 4).transpose(1, 2).reshape(n * c, p, 4)
    by_class = by_class.gather(1, order[..., None].expand(-1, -1, 4))
    ranked = ranked.masked_fill(ranked <= settings.score_threshold, -torch.inf)
    kept = bx.suppress(by_class, ranked, settings.nms_threshold)
    labels = (torch.arange(c * p, device=scores.device) // p).expand(n, -1)
    left = ranked.masked_fill(~kept, -torch.inf)
    return best(by_class.reshape(n, c * p, 4), left.reshape(n, c * p), labels, count=settings.most_detections)


def best(boxes: Tensor, scores: Tensor, labels: Tensor, *, count: int) -> Detections:
    """Return at most `count` of (N, K, 4) boxes, (N, K) scores and labels, best first; scores of -inf are no boxes."""
    top, index = scores.topk(min(count, scores.shape[1]), dim=1)
    empty = top == -torch.inf
    return Detections(
        boxes.gather(1, index[..., None].expand(-1, -1, 4)),
        top.masked_fill(empty, 0),
        labels.gather(1, index).masked_fill(empty, -1),
    )
