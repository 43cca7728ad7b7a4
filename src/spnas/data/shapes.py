"""Draw one picture of coloured shapes on a textured ground, with the boxes that belong to it."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CLASSES = ("circle", "square", "triangle", "cross", "ring", "star")
FINE = 4  # masks are drawn this many times finer, then averaged: smooth edges
LEAST_CONTRAST = 90.0  # distance in RGB between a shape and the ground beneath it


class Drawn(NamedTuple):
    """One shape in a picture: box (x, y, w, h) of its whole outline, area of what is visible of it."""

    label: int
    box: tuple[int, int, int, int]
    area: int


def ground(side: int, noise: float, *, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a background (side, side, 3): blotches of two scales around one colour, with grain."""
    colour = rng.uniform(40, 215, 3)
    picture = np.zeros((side, side, 3), np.float32) + colour.astype(np.float32)
    for cells, strength in ((4, 34.0), (max(5, side // 8), 14.0)):
        coarse = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        for channel in range(3):
            plane = Image.fromarray(coarse[:, :, channel]).resize((side, side), Image.Resampling.BICUBIC)
            picture[:, :, channel] += np.asarray(plane)
    picture += rng.normal(0, 255 * noise, picture.shape).astype(np.float32)
    return picture


def outline(kind: str, radius: float, *, angle: float) -> list[tuple[float, float]]:
    """Return the corners of a shape around (0, 0) that reaches `radius` from its centre."""
    if kind == "square":
        steps = [(radius, k / 4) for k in range(4)]
    elif kind == "triangle":
        steps = [(radius, k / 3) for k in range(3)]
    elif kind == "star":
        steps = [(radius if k % 2 == 0 else radius * 0.42, k / 10) for k in range(10)]
    elif kind == "cross":
        arm, half = math.atan(0.36), radius * math.hypot(0.36, 0.36)
        turns = [(radius, -arm), (radius, arm), (half, math.pi / 4)]
        steps = [(r, (a + k * math.pi / 2) / math.tau) for k in range(4) for r, a in turns]
    else:  # circle and ring
        steps = [(radius, k / 48) for k in range(48)]
    return [(r * math.cos(math.tau * t + angle), r * math.sin(math.tau * t + angle)) for r, t in steps]


def mask(kind: str, size: float, *, angle: float) -> NDArray[np.float32]:
    """Return how much of each pixel a shape covers (S, S); `size` is the length of its longer box side."""
    corners = outline(kind, 1.0, angle=angle)
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    grow = size / max(max(xs) - min(xs), max(ys) - min(ys))
    middle = ((max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2)
    side = math.ceil(size) + 2
    canvas = Image.new("L", (side * FINE, side * FINE), 0)
    draw = ImageDraw.Draw(canvas)

    def placed(share: float) -> list[tuple[float, float]]:
        return [
            (
                (side / 2 + share * grow * (x - middle[0])) * FINE,
                (side / 2 + share * grow * (y - middle[1])) * FINE,
            )
            for x, y in corners
        ]

    draw.polygon(placed(1.0), fill=255)
    if kind == "ring":
        draw.polygon(placed(0.55), fill=0)
    return np.asarray(canvas.reduce(FINE), np.float32) / np.float32(255)


def paint(
    picture: NDArray[np.float32],
    cover: NDArray[np.float32],
    *,
    corner: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """Lay a shape of a random colour, lighter on one side, over `picture`."""
    side, (x, y) = cover.shape[0], corner
    patch = picture[y : y + side, x : x + side]
    beneath = patch.mean(axis=(0, 1))
    colour = rng.uniform(0, 255, 3)
    while np.linalg.norm(colour - beneath) < LEAST_CONTRAST:
        colour = rng.uniform(0, 255, 3)
    slope = np.linspace(-1, 1, side, dtype=np.float32)
    tilt = rng.uniform(-18, 18, 2)
    shade = (slope[:, None] * tilt[0] + slope[None, :] * tilt[1]).astype(np.float32)
    fill = colour.astype(np.float32) + shade[:, :, None]
    patch += cover[:, :, None] * (fill - patch)


def scratch(picture: NDArray[np.float32], lines: int, *, rng: np.random.Generator) -> None:
    """Draw thin lines that mean nothing."""
    side = picture.shape[0]
    for _ in range(lines):
        canvas = Image.new("L", (side, side), 0)
        ends = [float(v) for v in rng.uniform(0, side, 4)]
        ImageDraw.Draw(canvas).line(ends, fill=255, width=int(rng.integers(1, 3)))
        cover = np.asarray(canvas, np.float32)[:, :, None] / 255
        picture += cover * (rng.uniform(0, 255, 3).astype(np.float32) - picture)
