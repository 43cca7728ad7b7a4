"""EXIF orientation: how a stored picture and its boxes turn into what a viewer shows."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION_TAG = 0x0112
Side = float | NDArray[np.float64]
TURNED = frozenset((5, 6, 7, 8))  # these swap width and height
BACK = {6: 8, 8: 6}  # all others undo themselves


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; anything unreadable counts as 1, as every viewer does.

    A PNG may carry EXIF behind its pixels, and looking there would decode the whole picture:
    only what stands in front counts, for the size and for the pixels alike.
    """
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # Pillow raises half a dozen types on damaged EXIF
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turn_pixels(pixels: NDArray[np.uint8], code: int) -> NDArray[np.uint8]:
    """Return stored `pixels` (H, W, C) as displayed."""
    if code in TURNED:
        pixels = pixels.transpose(1, 0, 2)
    if code in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if code in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def turn_boxes(boxes: NDArray[np.float64], code: int, *, width: Side, height: Side) -> NDArray[np.float64]:
    """Return `boxes` (M, 4), xyxy on the stored picture, as they lie on the displayed one.

    `width` and `height` are those of the displayed picture, or of every box's picture (M,).
    """
    x1, y1, x2, y2 = boxes.T
    if code in TURNED:
        x1, y1, x2, y2 = y1, x1, y2, x2
    if code in (3, 4, 7, 8):
        y1, y2 = height - y2, height - y1
    if code in (2, 3, 6, 7):
        x1, x2 = width - x2, width - x1
    return np.stack((x1, y1, x2, y2), axis=1)


def turn_each(
    boxes: NDArray[np.float64], codes: NDArray[np.uint8], *, sizes: NDArray[np.float64], back: bool = False
) -> NDArray[np.float64]:
    """Return `boxes` (M, 4) turned by the code of each (M,) onto the displayed picture, or from there `back`.

    sizes: (M, 2), width and height of the displayed pictures.
    """
    turned = boxes.copy()
    for code in np.unique(codes[codes > 1]).tolist():
        rows = codes == code
        width, height = sizes[rows].T
        if back and code in TURNED:
            width, height = height, width
        turned[rows] = turn_boxes(boxes[rows], BACK.get(code, code) if back else code, width=width, height=height)
    return turned
