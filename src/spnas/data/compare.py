"""Bring train and val together: divided where there is only one, of the same classes, without shared pictures."""

import itertools
from collections import Counter

import msgspec
import numpy as np

from spnas.data.checks import Checked
from spnas.data.raw import Spot
from spnas.data.records import Annotations
from spnas.data.split import chosen
from spnas.data.tally import Refuse, record
from spnas.errors import DataError, escape

CARVED = 0.2  # the share that is judged on when the user names no val
CARVE_SEED = 0  # fixed: the same data must be divided alike in every study


def carve_val(whole: Checked) -> tuple[Checked, Checked]:
    """Divide a source that has no val: the same pictures every time, equal ones and those of a video on one side."""
    known = whole.annotations
    mask = chosen(known, share=CARVED, seed=CARVE_SEED, keys=_keys(whole))
    spot = Spot(whole.report.source, "")
    reason = f"there is no val; {int(mask.sum()):,} of {len(known):,} pictures are kept from training for it"
    record(
        whole.report, spot, outcome="noted", code="val-carved", reason=reason, hint="name one with --val if you have it"
    )
    parts = []
    for name, rows in ((known.name, np.flatnonzero(~mask)), ("val", np.flatnonzero(mask))):
        parts.append(
            Checked(
                annotations=known.select(rows, name=name),
                report=whole.report,
                digests=tuple(whole.digests[i] for i in rows),
                videos=tuple(whole.videos[i] for i in rows),
            )
        )
    return parts[0], parts[1]


def _keys(whole: Checked) -> list[str]:
    """Return what decides the side of every picture: its bytes, or its video where that has several but not all.

    A copy of a picture goes where the first one goes.
    """
    pictures = Counter(whole.videos)
    several = {video for video, count in pictures.items() if video and 1 < count < len(whole.videos)}
    first: dict[bytes, str] = {}
    for digest, video in zip(whole.digests, whole.videos, strict=True):
        first.setdefault(digest, (video.encode("utf-8", "surrogatepass") if video in several else digest).hex())
    return [first[digest] for digest in whole.digests]


def same_classes(learned: Checked, judged: Checked) -> Checked:
    """Return `judged` with the classes of `learned`, matched by name.

    Raises: DataError when it has boxes of classes that nothing can be learned about.
    """
    ours, theirs = learned.annotations, judged.annotations
    place = {name: index for index, name in enumerate(ours.classes)}
    table = np.array([place.get(name, -1) for name in theirs.classes], np.int64)
    labels = table[theirs.labels]
    unknown = int((labels < 0).sum())
    if unknown:
        matching = len(labels) - unknown
        raise DataError(
            escape(judged.report.source),
            "",
            "classes-differ",
            f"{matching:,} of {len(labels):,} boxes match the class list; "
            f"the file has {_listed(theirs.classes)}, train has {_listed(ours.classes)}",
            "use the same names in both",
        )
    if theirs.classes != ours.classes:
        spot = Spot(judged.report.source, "")
        reason = f"has {_listed(theirs.classes)}, train has {_listed(ours.classes)}; matched by name"
        record(
            judged.report,
            spot,
            outcome="noted",
            code="classes-reordered",
            reason=reason,
            hint="nothing needs to be done",
        )
    category_ids = _ids_in_order(ours, theirs)
    matched = msgspec.structs.replace(theirs, classes=ours.classes, labels=labels, category_ids=category_ids)
    return msgspec.structs.replace(judged, annotations=matched)


def _ids_in_order(ours: Annotations, theirs: Annotations) -> tuple[int | str, ...]:
    """Return the ids that `theirs` gives to the classes of `ours`, free ones for those it does not know."""
    ids = dict(zip(theirs.classes, theirs.category_ids, strict=True))
    taken = set(ids.values())
    free = (i for i in itertools.count(1) if i not in taken)
    return tuple(ids[name] if name in ids else next(free) for name in ours.classes)


def overlap(learned: Checked, judged: Checked) -> list[tuple[int, int]]:
    """Return (train, val) indices of pictures whose bytes are the same."""
    seen = {digest: index for index, digest in enumerate(learned.digests)}
    return [(seen[d], index) for index, d in enumerate(judged.digests) if d in seen]


def refuse_overlap(learned: Checked, judged: Checked, *, on_refusal: Refuse) -> None:
    """Refuse data of which a picture is learned from and judged on."""
    pairs = overlap(learned, judged)
    if pairs:
        ours, theirs = learned.annotations.files[pairs[0][0]], judged.annotations.files[pairs[0][1]]
        on_refusal(
            DataError(
                escape(judged.report.source),
                f"picture {escape(theirs)}",
                "splits-overlap",
                f"has the bytes of {escape(ours)} in train ({len(pairs):,} such pictures)",
                "remove them from one side, or allow it (--allow-overlap)",
            )
        )


def note_shared_videos(learned: Checked, judged: Checked) -> None:
    """Note videos of which pictures are learned from and judged on: neighbours are nearly the same picture."""
    ours, theirs = Counter(learned.videos), Counter(judged.videos)
    for video in theirs:
        if video and video in ours:
            spot = Spot(judged.report.source, f"video {video}")
            reason = f"{theirs[video]:,} of its pictures are judged on, {ours[video]:,} are learned from"
            hint = "keep every video on one side, or take scores as too good"
            record(judged.report, spot, outcome="noted", code="splits-share-video", reason=reason, hint=hint)


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(escape(n) for n in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
