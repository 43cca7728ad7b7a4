"""Drawings of backbones and gains, and boxes on pictures."""

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from spnas.arch import Arch, parse
from spnas.report import draw_arch, draw_boxes, encode, side_by_side
from spnas.report.draw import draw_gain
from spnas.report.palette import BOXES, SHADES, WIDTHS, dark_forms
from spnas.report.pictures import colour_of

SVG = "{http://www.w3.org/2000/svg}"
SHAPES = (
    "basic: 64x2 / 128x2 / 256x2 / 512x2",
    "bottleneck: 64x3 / 128x4 / 256x6 / 512x3",
    "bottleneck: 64x3 / 128x8 / 256x36 / 512x3",
    "bottleneck: 64x4 128x2 / 128x8 256x1 / 256x2 / 256x17 512x1 / 512x12 / 512x1",
    "resnext: 64x4 / 128x5 / 256x25 / 512x3 / 512x1 + 1-0-2-1-2",
    "basic: 16x1 24x1 40x1 / 100x1",
    "basic conv: 8x400",
    "basic: 1x1 + 8",
    *(f"basic: 32x2 / 64x2 / 128x{blocks - 6} / 256x2" for blocks in range(8, 61, 4)),
)


def _bars(svg: str) -> list[ET.Element]:
    return [one for one in ET.fromstring(svg).iter(f"{SVG}rect") if "fill:var(--w" in one.get("style", "")]


@pytest.mark.parametrize("text", SHAPES)
def test_every_block_is_a_bar_inside_of_the_drawing(text: str) -> None:
    arch = parse(text)
    svg = draw_arch(arch, stage_gmacs=(1.0,) * len(arch.stages))
    root = ET.fromstring(svg)
    _, _, wide, tall = map(float, root.get("viewBox", "").split())
    assert len(_bars(svg)) == arch.block_count
    for box in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(box.get(key, "")) for key in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert w > 0
        assert x + w <= wide
        assert y + h <= tall


def test_bars_shrink_with_resolution_and_darken_with_width() -> None:
    bars = _bars(draw_arch(parse("basic: 32x1 / 64x1 / 128x1 / 256x1")))
    heights = [float(bar.get("height", "")) for bar in bars]
    colours = [bar.get("style") for bar in bars]
    assert heights == sorted(heights, reverse=True)
    assert len(set(colours)) == 4


def test_copies_and_widths_are_written_down() -> None:
    words = [one.text for one in ET.fromstring(draw_arch(parse("basic: 32x2 64x2 / 64x2 128x1 + 2-1"))).iter()]
    assert {"32", "64", "128", "+2 copies", "+1 copy", "p2", "p3", "/4", "/8"} <= set(words)
    assert words.count("64") == 1


def test_drawings_side_by_side_share_a_scale() -> None:
    short, long = parse("basic: 32x2"), parse("basic: 32x40")
    widths = [float(_bars(draw_arch(arch, longest=40))[0].get("width", "")) for arch in (short, long)]
    assert widths[0] == widths[1]


def test_a_hostile_block_name_stays_a_text() -> None:
    svg = draw_arch(Arch("</title><script>x</script>\u202e", ((8,),)))
    assert not list(ET.fromstring(svg).iter(f"{SVG}script"))
    assert "\u202e" not in svg


@pytest.mark.parametrize(("gain", "interval"), [(0.018, (0.009, 0.027)), (-0.3, (-0.4, 0.1)), (0.0, None)])
def test_a_gain_lies_inside_of_its_interval(gain: float, interval: tuple[float, float] | None) -> None:
    root = ET.fromstring(draw_gain(gain, interval, colour="searched"))
    bar, dot = next(root.iter(f"{SVG}rect")), float(next(root.iter(f"{SVG}circle")).get("cx", ""))
    left, wide = float(bar.get("x", "")), float(bar.get("width", ""))
    assert left - 0.1 <= dot <= left + wide + 0.1
    assert (dot > 190) == (gain > 0)


def test_every_light_colour_has_one_dark_form() -> None:
    assert len(dark_forms()) == len(SHADES) + len(WIDTHS)
    assert all(re.fullmatch("#[0-9a-f]{6}", one) for pair in dark_forms().items() for one in pair)


@pytest.mark.parametrize("scale", [1, 4])
def test_a_box_is_drawn_where_it_is(scale: int) -> None:
    image = np.full((96, 96, 3), 128, np.uint8)
    before = image.copy()
    made = draw_boxes(image, np.array([[20.0, 40.0, 70.0, 90.0]]), labels=["car"], classes=("car",), scale=scale)
    colour = tuple(bytes.fromhex(BOXES[0][1:]))
    assert made.shape == (96 * scale, 96 * scale, 3)
    for x, y in ((20 * scale, 60 * scale), (70 * scale - 1, 60 * scale), (45 * scale, 90 * scale - 1)):
        assert tuple(made[y, x]) == colour
    assert tuple(made[65 * scale, 45 * scale]) == (128, 128, 128)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("label", ["歩行者", "مشاة", "🚲", "x" * 500, "", "\u202e\n\x00\udcff", "<b>"])
@pytest.mark.parametrize("side", [4, 96])
def test_any_name_can_be_a_label(label: str, side: int) -> None:
    made = draw_boxes(np.zeros((side, side, 3), np.uint8), np.array([[0, 0, 3, 3]]), labels=[label], scores=[0.5])
    assert made.shape == (side, side, 3)
    assert made.any()


@pytest.mark.parametrize("box", [[np.nan, 0, 5, 5], [0, 0, np.inf, 5], [50, 50, 60, 60], [5, 5, 5, 9], [9, 9, 2, 2]])
def test_a_box_that_is_none_is_not_drawn(box: list[float]) -> None:
    assert not draw_boxes(np.zeros((20, 20, 3), np.uint8), np.array([box]), labels=["car"]).any()


def test_no_boxes_leave_the_picture_as_it_was() -> None:
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    assert np.array_equal(draw_boxes(image, np.zeros((0, 4)), labels=[]), image)


def test_boxes_and_labels_must_be_equally_many() -> None:
    with pytest.raises(ValueError, match="1 boxes, 0 labels"):
        draw_boxes(np.zeros((9, 9, 3), np.uint8), np.zeros((1, 4)), labels=[])


def test_a_class_keeps_its_colour() -> None:
    assert colour_of("van", classes=("car", "van")) == BOXES[1]
    assert colour_of("車") == colour_of("車")


def test_pictures_stand_side_by_side() -> None:
    row = side_by_side([np.zeros((4, 5, 3), np.uint8), np.zeros((6, 7, 3), np.uint8)], gap=2)
    assert row.shape == (6, 14, 3)
    assert (row[4:, :5] == 255).all()
    assert not row[:, 7:].any()
    with pytest.raises(ValueError, match="no picture"):
        side_by_side([])


def test_a_picture_is_encoded_in_the_smaller_format() -> None:
    flat = np.zeros((64, 64, 3), np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert encode(flat).startswith(b"\x89PNG")
    assert encode(noise).startswith(b"\xff\xd8\xff")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode(flat)))), flat)
