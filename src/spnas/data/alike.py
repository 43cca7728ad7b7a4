"""Find pictures that look the same although their bytes differ: saved again, scaled, or a moment later in a video.

A look is 256 bits: whether the brightness falls from one cell to the next in a 16 x 17 thumbnail. What is as good as
even leaves its bit at 0, so that noise does not count; pictures with hardly any bits have no look.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROWS, COLUMNS = 16, 17
FALL = 3  # levels of 255 by which brightness has to differ
FEWEST_BITS = 20
NEAR = 10  # bits in which two looks of one picture may differ
BANDS = 16  # of 16 bits each: looks that differ in fewer bits than there are bands agree in one of them
NEIGHBOURS = 8  # compared within a band, where many look alike


def look(pixels: NDArray[np.uint8]) -> str:
    """Return how a picture (H, W, 3) looks, in hexadecimal digits; "" when it is too even to tell."""
    grey = Image.fromarray(pixels).convert("L").resize((COLUMNS, ROWS), Image.Resampling.BOX)
    cells = np.asarray(grey, np.int16)
    bits = cells[:, 1:] + FALL <= cells[:, :-1]
    return np.packbits(bits).tobytes().hex() if bits.sum() >= FEWEST_BITS else ""


def alike(looks: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs of pictures, the smaller index first, whose looks differ in at most NEAR bits.

    Of many pictures that all look alike, only neighbours are paired.
    """
    known = np.array([i for i, text in enumerate(looks) if text], np.int64)
    if len(known) < 2:
        return []
    codes = np.frombuffer(bytes.fromhex("".join(looks[i] for i in known)), np.uint8).reshape(len(known), -1)
    bands = codes.view(np.uint16)
    pairs: set[tuple[int, int]] = set()
    for band in range(BANDS):
        order = np.lexsort((*codes.T[::-1], bands[:, band]))
        sorted_codes, keys = codes[order], bands[order, band]
        for step in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
            same = np.flatnonzero(keys[step:] == keys[:-step])
            differing = np.bitwise_count(sorted_codes[same] ^ sorted_codes[same + step]).sum(axis=1)
            near = same[differing <= NEAR]
            firsts, seconds = known[order[near]], known[order[near + step]]
            pairs |= {(min(a, b), max(a, b)) for a, b in zip(firsts.tolist(), seconds.tolist(), strict=True)}
    return sorted(pairs)
