"""What happens to a picture on its way to the network: resized once, then augmented at every visit.

Legend of shapes: H, W height and width; G the boxes of one picture.
"""

from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from spnas.data.pictures import resize

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)
KEEP_VISIBLE = 0.4  # of a box after cropping: below it is an ignore region
DROP_VISIBLE = 0.1  # below it is gone
LEAST_SIDE_PX = 1.0


class Resize(msgspec.Struct, frozen=True):
    """The longest side becomes `long`; with `short` given, whichever limit is met first.

    The aspect is kept. `Resize(None, 320)` for small work, `Resize(800, 1333)` as detectors are compared.
    """

    short: int | None
    long: int

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height after resizing."""
        grow = self.long / max(width, height)
        if self.short is not None:
            grow = min(grow, self.short / min(width, height))
        return max(1, round(width * grow)), max(1, round(height * grow))


class Augment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a training picture may change; zero and (1, 1) switch a part off.

    `short` is drawn once for a whole batch: the share of `Resize.short` that its pictures get, 640 to 800 px of 800.
    A `Resize` without a short side keeps its size.
    """

    flip: float = 0.5
    short: tuple[float, float] = (0.8, 1.0)
    scale: tuple[float, float] = (0.8, 1.25)
    brightness: float = 0.15
    contrast: float = 0.2
    saturation: float = 0.3


MILD = Augment()
FLIP_ONLY = Augment(short=(1.0, 1.0), scale=(1.0, 1.0), brightness=0.0, contrast=0.0, saturation=0.0)


class Sample(NamedTuple):
    """One picture with its boxes: pixels (H, W, 3) uint8; boxes (G, 4); labels, ignore (G,); scale (x, y)."""

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    scale: tuple[float, float]


def flip(sample: Sample) -> Sample:
    """Mirror left and right."""
    width = sample.pixels.shape[1]
    boxes = sample.boxes.copy()
    boxes[:, 0], boxes[:, 2] = width - sample.boxes[:, 2], width - sample.boxes[:, 0]
    return sample._replace(pixels=np.ascontiguousarray(sample.pixels[:, ::-1]), boxes=boxes)


def zoom(sample: Sample, grow: float, *, place: tuple[float, float], frame: tuple[int, int] | None = None) -> Sample:
    """Scale by `grow` inside the frame: above 1 a crop, below 1 with an empty (mean-coloured) border.

    `place` (x, y) in 0..1 says where the crop is taken, or where the smaller picture lies. `frame` is the width and
    height of what is returned, those of the picture when not given; both scalings are one resampling.
    """
    height, width = sample.pixels.shape[:2]
    frame_w, frame_h = frame or (width, height)
    if grow >= 1:
        cut_w, cut_h = width / grow, height / grow
        x, y = (width - cut_w) * place[0], (height - cut_h) * place[1]
        image = Image.fromarray(sample.pixels)
        pixels = np.asarray(image.resize((frame_w, frame_h), Image.Resampling.BILINEAR, (x, y, x + cut_w, y + cut_h)))
        growth = (grow * (frame_w / width), grow * (frame_h / height))
        shift = (-x * growth[0], -y * growth[1])
    else:
        new_w, new_h = max(1, round(frame_w * grow)), max(1, round(frame_h * grow))
        left, top = int((frame_w - new_w) * place[0]), int((frame_h - new_h) * place[1])
        pixels = np.empty((frame_h, frame_w, 3), np.uint8)
        pixels[:] = FILL
        pixels[top : top + new_h, left : left + new_w] = resize(sample.pixels, (new_w, new_h))
        growth, shift = (new_w / width, new_h / height), (left, top)
    boxes = sample.boxes * np.array(growth * 2) + np.array(shift * 2)
    scale = (sample.scale[0] * growth[0], sample.scale[1] * growth[1])
    return sanitise(Sample(pixels, boxes, sample.labels, sample.ignore, scale))


def sanitise(sample: Sample) -> Sample:
    """Clip boxes to the picture; what is hardly seen becomes an ignore region, what is gone is dropped."""
    height, width = sample.pixels.shape[:2]
    boxes = np.clip(sample.boxes, 0, np.array((width, height, width, height), np.float64))
    sides = boxes[:, 2:] - boxes[:, :2]
    before = np.prod(sample.boxes[:, 2:] - sample.boxes[:, :2], axis=1)
    seen = np.prod(sides, axis=1) / np.maximum(before, 1e-9)
    keep = (sides.min(axis=1, initial=np.inf) >= LEAST_SIDE_PX) & (seen >= DROP_VISIBLE)
    ignore = sample.ignore | (seen < KEEP_VISIBLE)
    return sample._replace(boxes=boxes[keep], labels=sample.labels[keep], ignore=ignore[keep])


def vary(
    sample: Sample, settings: Augment, *, rng: np.random.Generator, frame: tuple[int, int] | None = None
) -> Sample:
    """Flip and zoom at random, into `frame` (width, height) if given; draws as many numbers whatever the settings."""
    mirrored, grow, x, y = rng.random(4)
    low, high = settings.scale
    if mirrored < settings.flip:
        sample = flip(sample)
    factor = low * (high / low) ** grow
    same = factor == 1 and frame in (None, sample.pixels.shape[1::-1])
    return sample if same else zoom(sample, factor, place=(x, y), frame=frame)


def colour_matrix(settings: Augment, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the (3, 4) matrix of a random colour change: RGB in 0..1 times three columns, plus the last."""
    brightness, contrast, saturation = (
        1 + strength * (2 * draw - 1)
        for strength, draw in zip(
            (settings.brightness, settings.contrast, settings.saturation), rng.random(3), strict=True
        )
    )
    grey = np.tile(np.array(LUMA), (3, 1))
    mix = (saturation * np.eye(3) + (1 - saturation) * grey) * brightness * contrast
    offset = np.full((3, 1), 0.5 * (1 - contrast))  # contrast turns about mid-grey
    return np.concatenate((mix, offset), axis=1).astype(np.float32)


def write_normalised(
    pixels: NDArray[np.uint8], out: torch.Tensor, *, colours: NDArray[np.float32] | None = None
) -> None:
    """Write `pixels` (H, W, 3) into `out` (3, H, W): colours changed, then ImageNet's mean and deviation."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).to(torch.float32)
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    if colours is None:
        torch.mul(planes, (1 / (255 * std)).view(3, 1, 1), out=out)
        out -= (mean / std).view(3, 1, 1)
        return
    matrix = torch.from_numpy(colours)
    weights = matrix[:, :3] / (255 * std.view(3, 1))
    offset = (matrix[:, 3] - mean) / std
    mixed = torch.addmm(offset.view(3, 1), weights, planes.view(3, -1)).view_as(planes)
    low, high = (-mean / std).view(3, 1, 1), ((1 - mean) / std).view(3, 1, 1)
    torch.clamp(mixed, low, high, out=out)


FILL = np.round(np.array(MEAN) * 255).astype(np.uint8)  # becomes (almost) zero once normalised
