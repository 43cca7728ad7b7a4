"""A detector over a set of pictures: what it finds, in pixels of the original pictures."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spnas.data.batches import Batch
from spnas.nets.inference import inference_copy


class Found(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Detections of a set of pictures, K in all, by picture and falling score.

    Shapes: image_index (K,), boxes (K, 4) xyxy in pixels of the original picture, scores (K,), labels (K,).
    """

    image_index: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    def of(self, index: int) -> NDArray[np.int64]:
        """Return the rows of picture `index`."""
        return np.flatnonzero(self.image_index == index)

    def in_order(self) -> "Found":
        """Return the same by picture and falling score; equal scores stay as they stand."""
        order = np.lexsort((-self.scores, self.image_index))
        return Found(
            image_index=self.image_index[order],
            boxes=self.boxes[order],
            scores=self.scores[order],
            labels=self.labels[order],
        )


NOTHING_FOUND = Found(
    image_index=np.zeros(0, np.int64), boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, np.int64)
)


@torch.no_grad()
def detect(
    detector: nn.Module,
    batches: Iterator[Batch],
    *,
    progress: Callable[[int], None] | None = None,
) -> Found:
    """Run `detector` over `batches`, on a GPU where there is one; `progress` is told how many pictures are done."""
    detector.eval()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    detector.to(device)
    ready = inference_copy(detector)
    parts: list[tuple[Any, ...]] = []
    done = 0
    for batch in batches:
        images = batch.images.to(device, memory_format=torch.channels_last)
        found = ready.detect(images, batch.sizes.to(device))  # type: ignore[operator]
        real = (found.labels >= 0).cpu()
        scale = batch.scale.repeat(1, 2)[:, None]
        boxes = found.boxes.cpu() / scale
        index = batch.index[:, None].expand(real.shape)
        parts.append((index[real], boxes[real], found.scores.cpu()[real], found.labels.cpu()[real]))
        done += len(batch.index)
        if progress:
            progress(done)
    columns = [torch.cat(column).numpy() for column in zip(*parts, strict=True)] if parts else [np.zeros(0)] * 4
    return Found(
        image_index=columns[0].astype(np.int64),
        boxes=columns[1].astype(np.float64).reshape(-1, 4),
        scores=columns[2].astype(np.float64),
        labels=columns[3].astype(np.int64),
    )
