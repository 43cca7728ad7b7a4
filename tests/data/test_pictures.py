"""A picture is decoded to 8-bit RGB as displayed, or refused; its size is known without decoding it."""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from spnas.data.exif import turn_boxes, turn_each, turn_pixels
from spnas.data.pictures import SAFE_FORMATS, picture_header, picture_size, read_picture, resize
from spnas.errors import DataError

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (5, 7, 3), np.uint8)


def save(path: Path, image: Image.Image, format: str = "PNG", **options: Any) -> Path:
    image.save(path, format, **options)
    return path


def test_rgb_comes_back_as_it_was(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS))
    assert np.array_equal(read_picture(path), PIXELS)
    assert picture_size(path) == (7, 5)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA"])
def test_other_modes_become_what_they_show(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    read = read_picture(save(tmp_path / "a.png", image))
    assert np.array_equal(read, np.asarray(image.convert("RGBA"))[:, :, :3])


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    clear = np.concatenate((PIXELS, np.zeros((5, 7, 1), np.uint8)), axis=2)
    path = save(tmp_path / "a.png", Image.fromarray(clear))
    assert np.array_equal(read_picture(path), PIXELS)
    assert picture_header(path).notes == ("alpha dropped",)


def test_a_palette_with_alpha_does_not_warn(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS).convert("P")
    path = save(tmp_path / "a.png", image, transparency=bytes(range(256)))
    assert np.array_equal(read_picture(path), np.asarray(image.convert("RGB")))


def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    path = save(tmp_path / "a.png", Image.fromarray(deep))
    assert read_picture(path)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red = read_picture(path)[4, 4]
    assert red[0] > 200
    assert red[1:].max() < 60


@pytest.mark.parametrize("code", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_orientation_is_applied_as_viewers_do(code: int, format: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = code
    path = save(tmp_path / "a", Image.fromarray(PIXELS), format, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read_picture(path), expected)
    assert picture_size(path) == expected.shape[1::-1]


@pytest.mark.parametrize("size", [(50, 70), (3, 4), (7, 5), (1, 1), (7, 200)])
@pytest.mark.parametrize(("code", "mode"), [(1, "RGB"), (1, "L"), (6, "RGB"), (3, "RGBA")])
def test_read_at_a_size_is_read_then_resized(size: tuple[int, int], code: int, mode: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = code
    path = save(tmp_path / "a", Image.fromarray(PIXELS).convert(mode), "PNG", exif=exif)
    whole, asked = read_picture(path), []
    small = read_picture(path, to=lambda *sides: asked.append(sides) or size)
    assert asked == [whole.shape[1::-1]]
    assert small.shape == (*size[::-1], 3)
    assert np.array_equal(small, resize(whole, size))


@pytest.mark.parametrize("size", [(50, 70), (25, 35), (100, 140)])
def test_a_part_of_an_array_is_resized_as_its_copy(size: tuple[int, int]) -> None:
    part = np.random.default_rng(3).integers(0, 256, (90, 60, 3), dtype=np.uint8)[10:80, 5:55]
    assert np.array_equal(resize(part, size), resize(part.copy(), size))


def test_resizing_to_the_same_size_changes_nothing() -> None:
    assert resize(PIXELS, PIXELS.shape[1::-1]) is PIXELS


def test_downsizing_averages() -> None:
    checks = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (20, 20))[:, :, None].repeat(3, axis=2)
    assert np.abs(resize(checks, (5, 5)).astype(int) - 127).max() <= 2


@pytest.mark.parametrize("code", range(1, 9))
def test_boxes_turn_with_their_pixels(code: int) -> None:
    stored = np.zeros((20, 30, 1), np.uint8)
    stored[3:8, 4:16] = 1
    shown = turn_pixels(stored, code)
    rows, columns = np.nonzero(shown[:, :, 0])
    height, width = shown.shape[:2]
    box = turn_boxes(np.array([[4.0, 3, 16, 8]]), code, width=width, height=height)
    assert box.tolist() == [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]


def test_boxes_that_are_turned_back_lie_where_they_lay() -> None:
    stored = np.repeat(np.array([[4.0, 3, 16, 8]]), 8, axis=0)
    codes = np.arange(1, 9, dtype=np.uint8)
    sizes = np.where(codes[:, None] < 5, (30.0, 20.0), (20.0, 30.0))
    shown = turn_each(stored, codes, sizes=sizes)
    assert len(np.unique(shown, axis=0)) == 8
    assert np.array_equal(turn_each(shown, codes, sizes=sizes, back=True), stored)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_counts_as_none(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(PIXELS), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert picture_size(path) == (7, 5)
    assert read_picture(path).shape == (5, 7, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_picture_is_refused_though_its_header_is_fine(format: str, share: float, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, format)
    path = tmp_path / "a"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    with pytest.raises(DataError, match=r"a: .*\[picture-damaged\]"):
        read_picture(path)


@pytest.mark.parametrize("format", ["BMP", "TIFF", "WEBP"])
def test_other_formats_are_read_only_when_allowed(format: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a", Image.fromarray(PIXELS), format, **({"lossless": True} if format == "WEBP" else {}))
    with pytest.raises(DataError, match=rf"is {format}; only JPEG or PNG"):
        read_picture(path)
    assert np.array_equal(read_picture(path, formats=(*SAFE_FORMATS, format)), PIXELS)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_that_are_no_colours_are_refused(mode: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.new(mode, (7, 5)), "TIFF")
    with pytest.raises(DataError, match=rf"pixels of mode {mode}.*\[picture-mode\]"):
        read_picture(path, formats=("TIFF",))


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (7, 5), colour) for colour in ("red", "blue")]
    path = save(tmp_path / "a.png", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="picture-animated"):
        read_picture(path)


def test_further_views_behind_a_jpeg_are_dropped(tmp_path: Path) -> None:
    views = [Image.new("RGB", (7, 5), colour) for colour in ("red", "blue")]
    path = save(tmp_path / "a.jpg", views[0], "MPO", save_all=True, append_images=views[1:])
    assert read_picture(path)[0, 0, 0] > 200
    assert picture_header(path).format == "JPEG"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "picture-empty"),
        (b"<!DOCTYPE html>", "picture-not-one"),
        (b"\xff\xd8\xff", "picture-damaged"),
        (b"\x89PNG\r\n\x1a\n", "picture-damaged"),
        (b"GIF89a", "picture-format"),
        (bytes(range(256)) * 4, "picture-not-one"),
    ],
)
def test_other_bytes_are_refused_by_what_they_are(data: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=code):
        picture_size(tmp_path / "a.png")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(DataError, match="file-not-regular"):
            read_picture(path)
    with pytest.raises(DataError, match="file-missing"):
        read_picture(tmp_path / "none")
    with pytest.raises(DataError, match="file-unreadable"):
        read_picture(tmp_path / "a\0b")


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_flipped_bytes_give_pixels_or_a_data_error(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(buffer, ("JPEG", "PNG")[seed % 2])
    data = np.frombuffer(buffer.getvalue(), np.uint8).copy()
    places = rng.integers(0, len(data), 8)
    data[places] = rng.integers(0, 256, 8)
    path = tmp_path / "a"
    path.write_bytes(data.tobytes())
    with contextlib.suppress(DataError):
        assert read_picture(path).dtype == np.uint8
