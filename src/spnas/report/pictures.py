"""Pictures with boxes on them: what a detector saw, at any size of picture."""

import io
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from spnas.report.palette import BOXES
from spnas.report.text import visible

Pixels = NDArray[np.uint8]  # (H, W, 3)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
LONGEST_LABEL = 32
# Pillow brings one font, of Latin letters; where a system font has the letters of a name it is used instead.
SYSTEM_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf", "Arial Unicode.ttf", "msgothic.ttc",
    "segoeui.ttf",
)  # fmt: skip


def colour_of(label: str, *, classes: Sequence[str] = ()) -> str:
    """Return the colour of a class, the same in every picture: by its place in `classes`, else by its name."""
    place = classes.index(label) if label in classes else zlib.crc32(label.encode("utf-8", "surrogatepass"))
    return BOXES[place % len(BOXES)]


def draw_boxes(
    image: Pixels,
    boxes: NDArray[np.floating],
    *,
    labels: Sequence[str],
    scores: Sequence[float] | None = None,
    classes: Sequence[str] = (),
    scale: int = 1,
) -> Pixels:
    """Draw boxes with their labels onto a copy of `image`, enlarged `scale` times first.

    Shapes: image (H, W, 3), boxes (N, 4) xyxy in pixels of `image`; returns (H * scale, W * scale, 3).
    A box that is not finite, or lies wholly outside, is not drawn.

    Raises: ValueError when boxes, labels and scores are not equally many.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if len(labels) != len(boxes) or (scores is not None and len(scores) != len(boxes)):
        raise ValueError(f"{len(boxes)} boxes, {len(labels)} labels, {None if scores is None else len(scores)} scores")
    canvas = Image.fromarray(np.ascontiguousarray(image))
    width, height = canvas.width * scale, canvas.height * scale
    canvas = canvas.resize((width, height), Image.Resampling.LANCZOS) if scale != 1 else canvas.copy()
    pen = ImageDraw.Draw(canvas)
    stroke = max(2, round(min(width, height) / 180))
    size = max(11, round(min(width, height) / 20))
    order = range(len(boxes)) if scores is None else np.argsort(scores, kind="stable").tolist()
    captions = []
    for i in order:
        if not np.isfinite(boxes[i]).all():
            continue
        x1, y1, x2, y2 = (boxes[i] * scale).clip(0, (width, height, width, height)).round().astype(int).tolist()
        if x2 <= x1 or y2 <= y1:
            continue
        colour = colour_of(labels[i], classes=classes)
        pen.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=colour, width=stroke)
        score = "" if scores is None else f" {scores[i]:.2f}"
        captions.append((x1, y1, _short(labels[i]) + score, colour))
    for x1, y1, words, colour in captions:  # after all boxes, so that no box crosses a label
        _caption(pen, x1, y1, words=words, colour=colour, size=size, limits=(width, height))
    return np.asarray(canvas, dtype=np.uint8)


def _short(label: str) -> str:
    label = visible(label)
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def _caption(
    pen: ImageDraw.ImageDraw,
    x: int,
    y: int,
    *,
    words: str,
    colour: str,
    size: int,
    limits: tuple[int, int],
) -> None:
    words, font = _fitting(words, size)
    left, top, right, bottom = pen.textbbox((0, 0), words, font=font)
    pad = max(2, size // 5)
    wide, tall = right - left + 2 * pad, bottom - top + 2 * pad
    x = int(max(0, min(x, limits[0] - wide)))
    if y >= tall:
        y -= int(tall)  # above its box; at the picture's upper edge inside of it
    pen.rectangle((x, y, x + wide - 1, y + tall - 1), fill=colour)
    pen.text((x + pad - left, y + pad - top), words, font=font, fill="#ffffff")


@lru_cache(maxsize=512)
def _fitting(words: str, size: int) -> tuple[str, Font]:
    """Return a font that has every letter of `words`, or the words with a question mark for what none has."""
    plain = ImageFont.load_default(size)
    lacking = {c for c in words if not _has(plain, c)}
    if not lacking:
        return words, plain
    for name in SYSTEM_FONTS:
        font = _system_font(name, size)
        if font and all(_has(font, c) for c in words):
            return words, font
    return "".join("?" if c in lacking else c for c in words), plain


@lru_cache(maxsize=64)
def _system_font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _has(font: Font, letter: str) -> bool:
    """Whether the font draws `letter` as something other than its sign for an unknown one."""
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))


def side_by_side(images: Sequence[Pixels], *, gap: int = 8) -> Pixels:
    """Put pictures into one row on white, aligned at their tops.

    Raises: ValueError when there is none.
    """
    if not images:
        raise ValueError("no picture to put side by side")
    tall = max(image.shape[0] for image in images)
    wide = sum(image.shape[1] for image in images) + gap * (len(images) - 1)
    row, x = np.full((tall, wide, 3), 255, dtype=np.uint8), 0
    for image in images:
        row[: image.shape[0], x : x + image.shape[1]] = image
        x += image.shape[1] + gap
    return row


def encode(image: Pixels) -> bytes:
    """Encode a picture for the page, as PNG or JPEG, whichever is smaller."""
    png, jpeg = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(png, "PNG", optimize=True)
    Image.fromarray(np.ascontiguousarray(image)).save(jpeg, "JPEG", quality=90, subsampling=0)
    return min(png.getvalue(), jpeg.getvalue(), key=len)
