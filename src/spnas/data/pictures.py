"""The only place where pictures are decoded: always 8-bit RGB, always as displayed, or a DataError.

What a picture becomes:

  8-bit RGB, greyscale, palette, 1 bit    as they are
  alpha (RGBA, LA, palette with alpha)    alpha dropped, noted
  CMYK, YCCK, YCbCr                       converted, noted
  16-bit greyscale                        divided by 257, noted (16-bit colour: its high byte)
  a JPEG with further views behind (MPO)  the first view, noted
  float, 32-bit, Lab, animated, paged     refused
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from spnas.data.exif import TURNED, orientation, turn_pixels
from spnas.data.paths import open_regular
from spnas.errors import DataError, escape

SAFE_FORMATS = ("JPEG", "PNG")
OPT_IN_FORMATS = ("WEBP", "BMP", "TIFF")
MAX_PIXELS = 80_000_000  # below the size at which Pillow itself begins to warn
PLAIN_MODES = frozenset(("RGB", "L", "1", "P"))
NOTED_MODES = {
    "RGBA": "alpha dropped",
    "RGBX": "alpha dropped",
    "LA": "alpha dropped",
    "PA": "alpha dropped",
    "CMYK": "CMYK converted",
    "YCbCr": "YCbCr converted",
    "I;16": "16 bit scaled to 8",
    "I;16L": "16 bit scaled to 8",
    "I;16B": "16 bit scaled to 8",
}
MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"RIFF", "WEBP"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"<", "a web page or XML"),
    (b"{", "JSON"),
)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a picture's first bytes say; `width` and `height` are as displayed."""

    width: int
    height: int
    orientation: int
    format: str
    notes: tuple[str, ...]

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height as stored, before EXIF orientation."""
        return (self.height, self.width) if self.orientation in TURNED else (self.width, self.height)


def read_picture(
    path: Path,
    *,
    formats: tuple[str, ...] = SAFE_FORMATS,
    to: Callable[[int, int], tuple[int, int]] | None = None,
) -> NDArray[np.uint8]:
    """Decode one picture completely, as displayed; `to` is given its width and height and says those it gets.

    Shapes: returns (H, W, 3), RGB.
    Raises: DataError when the file is not a whole picture of an allowed kind.
    """
    with _opened(path, formats) as image:
        header = read_header(path, image)
        size = (header.width, header.height) if to is None else to(header.width, header.height)
        image.load()
        if image.mode == "RGB" and header.orientation == 1:  # the usual kind: straight to its size
            return np.array(image if size == image.size else image.resize(size, Image.Resampling.BILINEAR))
        return resize(turn_pixels(to_rgb(image), header.orientation), size)


def resize(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return `pixels` at this size (width, height), bilinear and antialiased."""
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR))


def picture_header(path: Path, *, formats: tuple[str, ...] = SAFE_FORMATS, data: bytes | None = None) -> Header:
    """Read a picture's header, without decoding any pixels; `data` are its bytes when they are at hand.

    Raises: DataError when the file does not begin as a picture of an allowed kind.
    """
    with _opened(path, formats, data) as image:
        return read_header(path, image)


def picture_size(path: Path, *, formats: tuple[str, ...] = SAFE_FORMATS) -> tuple[int, int]:
    """Return width and height as displayed, from the header alone.

    Raises: DataError when the file does not begin as a picture of an allowed kind.
    """
    header = picture_header(path, formats=formats)
    return header.width, header.height


def read_header(path: Path, image: Image.Image) -> Header:
    """Check what an opened, not yet decoded picture says about itself.

    Raises: DataError when it is too large, animated, or of a kind that has no 8-bit RGB meaning.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _refusal(
            path,
            "picture-too-large",
            f"the picture is {width} x {height}, more than {MAX_PIXELS:,} pixels",
            "scale it down or remove it",
        )
    notes = []
    if image.mode in NOTED_MODES:
        notes.append(NOTED_MODES[image.mode])
    elif image.mode not in PLAIN_MODES:
        raise _refusal(
            path,
            "picture-mode",
            f"pixels of mode {image.mode} have no 8-bit RGB meaning",
            "convert the picture to 8-bit RGB",
        )
    elif "transparency" in image.info:
        notes.append("alpha dropped")
    if image.format == "MPO":
        notes.append("further views dropped")
    elif getattr(image, "n_frames", 1) > 1:
        raise _refusal(path, "picture-animated", "the picture has more than one frame", "save one frame as JPEG or PNG")
    code = orientation(image)
    if code in TURNED:
        width, height = height, width
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    return Header(width=width, height=height, orientation=code, format=kind, notes=tuple(notes))


@contextmanager
def _opened(path: Path, formats: tuple[str, ...], data: bytes | None = None) -> Iterator[Image.Image]:
    """Open `path` as one of `formats`; whatever Pillow raises inside becomes a DataError."""
    with os.fdopen(open_regular(path), "rb") if data is None else io.BytesIO(data) as file:
        try:
            # Pillow's JPEG reader hands over to MPO by itself
            with Image.open(file, formats=formats) as image:
                yield image
        except (DataError, MemoryError):
            raise
        except UnidentifiedImageError:
            file.seek(0)
            raise _unidentified(path, file.read(64), formats) from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise _refusal(
                path,
                "picture-too-large",
                f"the picture has more than {MAX_PIXELS:,} pixels",
                "scale it down or remove it",
            ) from None
        except Exception as error:  # damaged pictures make Pillow raise almost any type
            reason = escape(str(error).splitlines()[0] if str(error) else type(error).__name__)
            raise _refusal(
                path,
                "picture-damaged",
                f"the picture does not decode: {reason}",
                "restore it from its source, or remove it and its record",
            ) from None


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) of a loaded picture of an accepted mode."""
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # the straight way warns about palettes with alpha
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _unidentified(path: Path, start: bytes, formats: tuple[str, ...]) -> DataError:
    """Say what the file is instead of a picture, as far as its first bytes tell."""
    if not start:
        return _refusal(path, "picture-empty", "the file has no bytes", "restore it, or remove its record")
    kind = next((name for magic, name in MAGIC if start.lstrip().startswith(magic)), "")
    allowed = " or ".join(formats)
    if kind in formats:
        return _refusal(
            path,
            "picture-damaged",
            f"begins as {kind} and cannot be read on",
            "restore it from its source, or remove it and its record",
        )
    if kind in (*OPT_IN_FORMATS, "GIF"):
        return _refusal(
            path,
            "picture-format",
            f"is {kind}; only {allowed} are read",
            "convert it" if kind == "GIF" else "convert it, or allow this format",
        )
    seems = f"; it looks like {kind}" if kind else ""
    return _refusal(
        path,
        "picture-not-one",
        f"is not a {allowed} picture{seems}",
        "restore it, or remove it and its record",
    )


def _refusal(path: Path, code: str, reason: str, hint: str) -> DataError:
    return DataError(escape(str(path)), "", code, reason, hint)
