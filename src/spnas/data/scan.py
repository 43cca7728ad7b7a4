"""Find the pictures that a source names, and look at every header and every byte once."""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.paths import Place, Resolver, nearest_name, open_regular
from spnas.data.pictures import MAX_PIXELS, Header, picture_header
from spnas.data.raw import RawData
from spnas.data.tally import Refuse, record
from spnas.errors import DataError, escape

WHOLE_BYTES = 2 << 30  # up to this much, all bytes are hashed; beyond, both ends of every picture and its size
END_BYTES = 64 << 10
PROBES = 50  # names tried in every folder that may hold the pictures
TRIES = 3
THREADS = 8
QUARANTINED = frozenset(("picture-empty", "picture-damaged", "picture-not-one", "file-unreadable"))
SUFFIXES = {"JPEG": (".jpg", ".jpeg", ".jpe"), "PNG": (".png",), "TIFF": (".tif", ".tiff")}


class Scan(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What the pictures of a source are.

    Shapes, with N pictures: usable (N,); shown and stored (N, 2) are width and height as displayed and as
      stored. Where a picture is not usable these are 1, its header is None and its digest empty.
    """

    root: Path
    files: list[str]
    usable: NDArray[np.bool_]
    headers: list[Header | None]
    shown: NDArray[np.float64]
    stored: NDArray[np.float64]
    digests: list[bytes]


def scan_pictures(raw: RawData, *, formats: tuple[str, ...], allow_outside: Path | None, refuse: Refuse) -> Scan:
    """Resolve, open and hash every picture of `raw`.

    Raises: DataError (through `refuse`) for missing pictures, and for those that must not be opened.
    """
    root = choose_root(raw.roots, raw.files)
    places = _places(raw, root, allow_outside=allow_outside, refuse=refuse)
    sizes = [_size(place.path) if place is not None else None for place in places]
    _refuse_missing(raw, root, places=places, sizes=sizes, refuse=refuse)
    whole = sum(size or 0 for size in sizes) <= WHOLE_BYTES
    wanted = [i for i, size in enumerate(sizes) if size is not None]
    headers: list[Header | None] = [None] * len(places)
    shown, stored = np.ones((len(places), 2)), np.ones((len(places), 2))
    digests = [b""] * len(places)
    usable = np.zeros(len(places), np.bool_)

    def look(index: int) -> tuple[Header, bytes] | DataError:
        place = places[index]
        assert place is not None
        return inspect(place.path, formats=formats, whole=whole)

    with ThreadPoolExecutor(THREADS, thread_name_prefix="scan") as pool:
        for index, found in zip(wanted, pool.map(look, wanted), strict=True):
            if isinstance(found, DataError):
                _judge(raw, index, error=found, refuse=refuse)
            else:
                header, digests[index] = found
                headers[index], usable[index] = header, True
                shown[index], stored[index] = (header.width, header.height), header.stored
                _note_header(raw, index, place=places[index], header=header)
    return Scan(
        root=root,
        files=[_relative(p, root, name=raw.files[i]) for i, p in enumerate(places)],
        usable=usable,
        headers=headers,
        shown=shown,
        stored=stored,
        digests=digests,
    )


def believe_sizes(raw: RawData, *, refuse: Refuse) -> Scan:
    """Take the sizes that are stated, and look at no picture: enough to judge results, not to train.

    Raises: DataError (through `refuse`) when a size is not stated.
    """
    sizes = raw.stated
    if raw.assumed is not None:
        sizes = np.where(np.isnan(sizes), np.array(raw.assumed, np.float64), sizes)
    usable: NDArray[np.bool_] = np.asarray((np.isfinite(sizes) & (sizes >= 1) & (sizes <= MAX_PIXELS)).all(axis=1))
    if not usable.all():
        index = int(np.flatnonzero(~usable)[0])
        spot = raw.picture_spot(index)
        reason = f"no width and height, and the pictures are not looked at ({int((~usable).sum()):,} such)"
        refuse(DataError(escape(spot.file), escape(spot.where), "picture-size-needed", reason, "state the sizes"))
    sizes = np.where(usable[:, None], sizes, 1.0)
    return Scan(
        root=raw.roots[0],
        files=list(raw.files),
        usable=usable,
        headers=[None] * len(raw.files),
        shown=sizes,
        stored=sizes,
        digests=[b""] * len(raw.files),
    )


def choose_root(roots: Sequence[Path], files: Sequence[str]) -> Path:
    """Return the folder in which most of the names are found; the first one when there are equals."""
    probes = [files[i].replace("\\", "/") for i in range(0, len(files), max(1, len(files) // PROBES))]

    def found(root: Path) -> int:
        return sum("\0" not in name and os.path.lexists(root / name) for name in probes)

    return max(roots, key=found)


def inspect(path: Path, *, formats: tuple[str, ...], whole: bool) -> tuple[Header, bytes] | DataError:
    """Return a picture's header and the hash of its bytes; what is wrong is returned, not raised."""
    for attempt in range(TRIES):
        try:
            with os.fdopen(open_regular(path), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if whole or size <= 2 * END_BYTES:
                    start = file.read()
                    digest = hashlib.sha256(start)
                else:
                    start = file.read(END_BYTES)
                    file.seek(-END_BYTES, os.SEEK_END)
                    digest = hashlib.sha256(start + file.read(END_BYTES) + str(size).encode())
            return picture_header(path, formats=formats, data=start if whole else None), digest.digest()
        except DataError as error:
            if error.code != "file-unreadable" or attempt == TRIES - 1:
                return error
        except OSError as error:
            if attempt == TRIES - 1:
                reason = error.strerror or str(error)
                return DataError(
                    escape(str(path)), "", "file-unreadable", f"cannot be read: {reason}", "check the disk"
                )
        time.sleep(0.05)  # a network disk may need a moment
    raise AssertionError("the last try returns")


def _places(raw: RawData, root: Path, *, allow_outside: Path | None, refuse: Refuse) -> list[Place | None]:
    """Resolve every name; a refused one becomes None."""
    resolver = Resolver(root, allow_outside=allow_outside)
    places: list[Place | None] = []
    for index, name in enumerate(raw.files):
        try:
            places.append(resolver.place(name))
        except DataError as error:
            spot = raw.picture_spot(index)
            where = f"{escape(spot.where)} ({error.where})"
            refuse(DataError(escape(spot.file), where, error.code, error.reason, error.hint))
            places.append(None)
    return places


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return 0 if os.path.lexists(path) else None


def _refuse_missing(
    raw: RawData, root: Path, *, places: list[Place | None], sizes: list[int | None], refuse: Refuse
) -> None:
    """Refuse, all in one line, the pictures that are not there."""
    missing = [i for i, place in enumerate(places) if place is not None and sizes[i] is None]
    if not missing:
        return
    shown = ", ".join(escape(raw.files[i])[:120] for i in missing[:5])
    searched = " or ".join(escape(str(r)) for r in raw.roots[:3]) if len(missing) == len(places) else str(root)
    near = nearest_name(Path(raw.files[missing[0]]).name, _listing(root / raw.files[missing[0]]))
    refuse(
        DataError(
            escape(str(raw.source)),
            escape(raw.picture_spot(missing[0]).where),
            "picture-missing",
            f"{len(missing):,} of {len(places):,} pictures are not in {escape(searched)}: {shown}",
            f"{near}restore them, or remove their records",
        )
    )


def _listing(path: Path) -> list[str]:
    try:
        return [n for n in sorted(os.listdir(path.parent)) if not n.endswith((".xml", ".json", ".txt"))]
    except (OSError, ValueError):
        return []


def _judge(raw: RawData, index: int, *, error: DataError, refuse: Refuse) -> None:
    """Quarantine a damaged picture; refuse one that must not be there at all."""
    if error.code in QUARANTINED:
        spot = raw.picture_spot(index)._replace(where=error.file)
        record(raw.report, spot, outcome="quarantined", code=error.code, reason=error.reason, hint=error.hint)
    else:
        refuse(error)


def _note_header(raw: RawData, index: int, *, place: Place | None, header: Header) -> None:
    """Note what was converted, misnamed, or found under another form of its name."""
    assert place is not None
    spot = raw.picture_spot(index)
    for text in header.notes:
        record(
            raw.report, spot, outcome="noted", code="picture-converted", reason=text, hint="nothing needs to be done"
        )
    suffix = place.path.suffix.lower()
    if suffix and suffix not in SUFFIXES.get(header.format, (f".{header.format.lower()}",)):
        record(
            raw.report,
            spot,
            outcome="noted",
            code="picture-suffix",
            reason=f"a {header.format} named {suffix}",
            hint="rename it some day",
        )
    if place.note:
        record(raw.report, spot, outcome="noted", code="path-form", reason=place.note, hint="nothing needs to be done")


def _relative(place: Place | None, root: Path, *, name: str) -> str:
    """Return the path below `root`, or the absolute one of a picture that is allowed to lie elsewhere."""
    if place is None:
        return name
    try:
        return place.path.relative_to(root).as_posix()
    except ValueError:
        return str(place.path)
