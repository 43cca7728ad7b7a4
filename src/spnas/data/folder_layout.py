"""Where the parts of an image-folder data set lie: its splits, its classes, and their pictures."""

import os
from collections.abc import Sequence
from pathlib import Path

from spnas.errors import DataError, escape

LAYOUT = "ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg, or ROOT/CLASS/*.jpg"
TRAIN, VALS, TEST = "train", ("val", "validation", "valid"), "test"
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")


def splits(path: Path, *, train: str | None, val: str | None) -> tuple[str, str | None]:
    """Return the folders to learn from and to judge on: "." is `path` itself, None a part that is to be set aside."""
    shown = escape(str(path))
    if not os.path.lexists(path):
        raise DataError(shown, "", "data-missing", "there is no such file or folder", "check the path")
    if not path.is_dir():
        raise DataError(shown, "", "layout-unknown", "is not a folder", f"expected {LAYOUT}")
    names = _folders(path)
    for asked in (train, val):
        if asked is not None and asked not in names:
            has = ", ".join(escape(n) for n in names[:8]) or "none"
            raise DataError(
                shown, "", "splits-unknown", f"there is no folder {escape(asked)!r} in it", f"its folders are: {has}"
            )
    usual = [name for name in VALS if name in names]
    if val is None and len(usual) > 1:
        raise DataError(
            shown, "", "splits-ambiguous", f"has {' and '.join(usual)}", "choose one with --val, or merge them"
        )
    judged = val or (usual[0] if usual else None)
    if train or TRAIN in names:
        return train or TRAIN, judged
    if judged is not None or TEST in names:
        reason = f"has {judged or TEST} but no train"
        raise DataError(shown, "", "layout-unknown", reason, "name the folder to learn from with --train")
    return ".", None


def class_names(folder: Path) -> list[str]:
    """Return the folders that stand for classes, in order."""
    shown = escape(str(folder))
    names = _folders(folder)
    if not any(pictures_in(folder / name) for name in names):
        reason = "none of its folders holds a picture" if names else "has no folder of a class"
        raise DataError(shown, "", "layout-unknown", reason, f"expected {LAYOUT}")
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(
                shown, f"folder {escape(name)!r}", "path-invalid", "its name is not UTF-8", "rename the folder"
            ) from None
    return names


def refuse_empty(folder: Path) -> None:
    """Refuse a class without pictures, and say so when they lie deeper."""
    deeper = [name for name in _folders(folder) if pictures_in(folder / name)]
    reason = f"has its pictures in folders such as {escape(deeper[0])!r}" if deeper else "holds no picture"
    hint = "move them into the class's own folder" if deeper else "add pictures of this class, or remove the folder"
    raise DataError(escape(str(folder)), "", "no-pictures", reason, hint)


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders, also linked ones, in `folder`."""
    return [name for name in _entries(folder) if os.path.isdir(folder / name)]


def pictures_in(folder: Path) -> list[str]:
    """Return the names in `folder` that look like pictures; whether they are is found out later."""
    return [name for name in _entries(folder) if name.lower().endswith(SUFFIXES)]


def _entries(folder: Path) -> Sequence[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise DataError(escape(str(folder)), "", "file-unreadable", reason, "check its permissions") from None
