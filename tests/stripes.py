"""Image folders of two classes that are easily told apart, and by no single pixel: lying and standing stripes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("lying", "standing")


def stripes(label: int, *, side: int = 32, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return one picture (side, side, 3): stripes of a random width, phase and colour in noise."""
    wave = np.sin(np.arange(side) * rng.uniform(0.5, 1.2) + rng.uniform(0, 6))
    plane = wave[None, :] if label else wave[:, None]
    picture = 128 + plane[:, :, None] * rng.uniform(30, 70, 3) + rng.normal(0, 25, (side, side, 3))
    pixels: NDArray[np.uint8] = np.clip(picture, 0, 255).astype(np.uint8)
    return pixels


def write_stripes(folder: Path, *, train: int = 40, val: int = 20, side: int = 32, seed: int = 0) -> Path:
    """Write so many pictures of each class below `folder`/train and `folder`/val."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(stripes(label, side=side, rng=rng)).save(folder / split / name / f"{index:03d}.png")
    return folder
