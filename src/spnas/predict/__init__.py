"""A trained detector at work: `spnas.load(MODEL).predict(PICTURES)`.

The way of a picture: decoded, cut into views (itself, and tiles of it if asked for), resized and normalised in numpy;
through a `Network`; back to pixels of the original picture, and merged. Nothing here needs torch but the network that
`load` makes: a `Model` around another one does without.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Raw(NamedTuple):
    """What a network finds in N pictures, D rows each: boxes (N, D, 4) xyxy in input pixels, scores (N, D), labels
    (N, D) with -1 in rows that hold nothing."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


class Network(Protocol):
    """What looks at pictures, whatever it is made with."""

    def __call__(self, images: NDArray[np.float32], sizes: NDArray[np.int64]) -> Raw:
        """Find objects in images (N, 3, H, W), normalised and zero-padded; sizes (N, 2) are height and width without
        padding."""


class Sizing(Protocol):
    """How large pictures are made for a network, as `Resize` of the data room says it."""

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height after resizing."""


from spnas.predict.detections import Detection, Detections  # noqa: E402 - the door comes first, its rooms use it
from spnas.predict.model import Model, load  # noqa: E402

__all__ = ["Detection", "Detections", "Model", "Network", "Raw", "Sizing", "load"]
