"""What users hand over to be looked at: paths, folders, arrays, PIL images, or lists of these."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spnas.data.exif import turn_pixels
from spnas.data.pictures import read_header, read_picture, to_rgb
from spnas.errors import DataError, UsageError, escape

ENDINGS = frozenset((".jpg", ".jpeg", ".png"))
Picture = str | os.PathLike[str] | NDArray[np.uint8] | Image.Image
Source = Picture | list[Any] | tuple[Any, ...]  # of pictures


class Given(NamedTuple):
    """One picture that was handed over, not yet read: a file, or what `name` calls it by."""

    name: str
    path: Path | None
    picture: NDArray[np.uint8] | Image.Image | None

    def read(self) -> NDArray[np.uint8]:
        """Return its pixels (H, W, 3), RGB, as displayed.

        Raises: DataError when a file, or an image that Pillow has yet to decode, is not a whole picture of an allowed
        kind.
        """
        if self.path is not None:
            return read_picture(self.path)
        if isinstance(self.picture, Image.Image):
            return _pixels_of(self.name, self.picture)
        assert self.picture is not None
        return np.ascontiguousarray(self.picture)


def gather(source: Source) -> tuple[list[Given], bool]:
    """Return all pictures of `source`, the files of folders in order of their names, and whether it is a single one.

    Raises: UsageError for what is no picture; DataError for a path where there is nothing.
    """
    if not isinstance(source, list | tuple):
        given = _given(source, "the picture")
        return given, not _is_folder(source)
    return [one for i, part in enumerate(source) for one in _given(part, f"picture {i}")], False


def _given(source: Any, name: str) -> list[Given]:
    if isinstance(source, str | os.PathLike):
        return [Given(str(path), path, None) for path in files_of(Path(source))]
    if isinstance(source, Image.Image):
        return [Given(str(getattr(source, "filename", "")) or name, None, source)]
    if not isinstance(source, np.ndarray):
        raise UsageError(f"{name}: is of type {type(source).__name__}; give a path, an array, a PIL image, or a list")
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
        raise UsageError(
            f"{name}: an array of shape {source.shape} and type {source.dtype}; give (height, width, 3), uint8, RGB"
        )
    return [Given(name, None, source)]


def files_of(path: Path) -> list[Path]:
    """Return the picture that `path` is, or all pictures of a folder, by name.

    Raises: DataError when there is nothing there; UsageError for a folder without pictures.
    """
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS)
        if not files:
            raise UsageError(
                f"{escape(str(path))}: no pictures in this folder; those that end in .jpg or .png are read"
            )
        return files
    if not path.exists():
        raise DataError(escape(str(path)), "", "picture-missing", "no such picture or folder", "check the path")
    return [path]


def _is_folder(source: Any) -> bool:
    return isinstance(source, str | os.PathLike) and Path(source).is_dir()


def _pixels_of(name: str, image: Image.Image) -> NDArray[np.uint8]:
    """Return an image's pixels as those of a file: checked, turned as EXIF says, as RGB."""
    code = read_header(Path(name), image).orientation
    try:
        image.load()
    except (OSError, ValueError, SyntaxError) as error:  # an image that was opened, but not decoded before
        reason = escape(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise DataError(
            escape(name), "", "picture-damaged", f"the picture does not decode: {reason}", "restore it from its source"
        ) from None
    return turn_pixels(to_rgb(image), code)
