"""Pixels -> what a network takes, in numpy alone: bit for bit what the batches of training and evaluation hold."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)
STRIDE = 32  # heights and widths of a batch are multiples of it
Pixels = NDArray[np.uint8]  # (H, W, 3)


def padded(pixels: Pixels) -> tuple[int, int]:
    """Return height and width of a batch that holds pictures of this size alone."""
    height, width = pixels.shape[:2]
    return -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE


def stack(pictures: Sequence[Pixels]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images (N, 3, H, W), normalised as for ImageNet and zero-padded, and sizes (N, 2) without padding."""
    height, width = (max(sides) for sides in zip(*map(padded, pictures), strict=True))
    images = np.zeros((len(pictures), 3, height, width), np.float32)
    gain, shift = (1 / (255 * STD))[:, None, None], (MEAN / STD)[:, None, None]
    for image, pixels in zip(images, pictures, strict=True):
        part = image[:, : pixels.shape[0], : pixels.shape[1]]
        np.multiply(pixels.transpose(2, 0, 1), gain, out=part)
        part -= shift
    return images, np.array([pixels.shape[:2] for pixels in pictures], np.int64)
