"""What may be written over: what we wrote ourselves, and nothing else."""

import re
from pathlib import Path

import msgspec

from spnas.errors import IntegrityError, UsageError, escape
from spnas.evaluate.results import Row
from spnas.export.description import read_sealed

RESULTS = "results.json"
PAGE, LONGEST_HEAD = b'<meta name="generator" content="spnas">', 2000
DRAWN = re.compile(r"\d{5}-.*\.(jpg|png)", re.DOTALL)


def refuse_no_folder(path: Path, option: str) -> None:
    """Make sure that there is a folder for the file `path`. Raises: UsageError naming `option`."""
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: its folder is not there; make it first")


def refuse_other_file(path: Path, option: str) -> None:
    """Let detections be written to `path`: a new file, an empty one, or one that holds detections in COCO's form.

    Raises: UsageError naming `option`.
    """
    if path.is_dir():
        raise UsageError(f"{option} {path}: is a folder; give the name of a file")
    if path.exists() and not _holds_detections(path):
        raise UsageError(f"{option} {path}: is there already and holds no detections; give another name")


def refuse_other_page(path: Path, option: str) -> None:
    """Let a page be written to `path`: a new file in a folder that is there, an empty one, or a page of ours.

    Raises: UsageError naming `option`.
    """
    if path.is_dir():
        raise UsageError(f"{option} {path}: is a folder; give the name of a file")
    refuse_no_folder(path, option)
    if path.exists() and path.stat().st_size and PAGE not in path.read_bytes()[:LONGEST_HEAD]:
        raise UsageError(f"{option} {path}: is there already and is no page of spnas; give another name")


def refuse_other_onnx(path: Path, option: str) -> None:
    """Let an ONNX file be written to `path`: a new file, an empty one, or one that `spnas export` wrote.

    Raises: UsageError naming `option`.
    """
    if path.suffix.lower() != ".onnx" or path.is_dir():
        raise UsageError(f"{option} {path}: give the name of a file that ends in .onnx")
    refuse_no_folder(path, option)
    if path.exists() and path.stat().st_size > 0:
        try:
            read_sealed(path)
        except (UsageError, IntegrityError):
            raise UsageError(
                f"{option} {path}: is there already and is not as spnas export wrote one; give another name"
            ) from None


def refuse_other_folder(folder: Path, option: str) -> None:
    """Let drawn pictures be written to `folder`: a new one, an empty one, or that of an earlier run.

    Raises: UsageError naming `option` and what is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{option} {folder}: a file of that name is in the way; give another folder")
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.exists() else []
    other = [name for name in names if name != RESULTS and not DRAWN.fullmatch(name)]
    if not other and names and not (RESULTS in names and _holds_detections(folder / RESULTS)):
        other = names
    if other:
        raise UsageError(
            f"{option} {folder}: holds {escape(other[0])!r}, which spnas predict did not write; "
            "give a new or empty folder"
        )


def _holds_detections(path: Path) -> bool:
    try:
        data = path.read_bytes()
        return not data or bool(msgspec.json.decode(data, type=list[Row]) is not None)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False
