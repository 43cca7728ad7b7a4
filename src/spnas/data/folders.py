"""Image folders: the class of a picture is the name of the folder it lies in, as for ImageNet.

    ROOT/train/CLASS/picture.jpg with ROOT/val, ROOT/validation or ROOT/valid beside it, and maybe ROOT/test
    ROOT/CLASS/picture.jpg, of which a tenth of every class is set aside as val

Hidden files and folders, and files that are named like no picture, are passed over.
"""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from spnas.data.checks import MAX_BAD
from spnas.data.folder_layout import class_names, pictures_in, refuse_empty, splits
from spnas.data.labelled import Labelled, LabelledSet, fingerprint_of
from spnas.data.names import check_classes
from spnas.data.pictures import SAFE_FORMATS
from spnas.data.raw import RawData, Spot
from spnas.data.records import ClassCount, DataReport
from spnas.data.scan import scan_pictures
from spnas.data.tally import record, refuse
from spnas.errors import DataError, escape
from spnas.rng import digest

CARVED = 0.1  # the share of every class that is set aside where there is no val
CARVE_SEED = 0  # fixed: the same data must be divided alike every time


class Part(msgspec.Struct, frozen=True, eq=False):
    """One split as read: its pictures, the hashes of their bytes, and what was noticed."""

    pictures: Labelled
    digests: tuple[bytes, ...]
    report: DataReport


def open_folders(
    path: Path,
    *,
    train: str | None = None,
    val: str | None = None,
    max_bad: float = MAX_BAD,
    allow_outside: Path | None = None,
    allow_overlap: bool = False,
) -> LabelledSet:
    """Read, check and divide an image-folder data set.

    Args:
      train, val: names of folders below `path` to use instead of the usual ones.
      max_bad: the share of a split's pictures that may be left out because they cannot be read.
      allow_outside: a folder outside `path` into which links may lead.
    Raises: DataError when it cannot be used as it is.
    """
    learned_name, judged_name = splits(path, train=train, val=val)

    def read(split: str) -> Part:
        return _read(path, split, max_bad=max_bad, allow_outside=allow_outside)

    learned = read(learned_name)
    if len(learned.pictures.classes) < 2:
        only = escape(learned.pictures.classes[0])
        raise DataError(
            escape(str(path)), "", "no-classes", f"has one class only, {only!r}", "add a folder for a second one"
        )
    if judged_name is None:
        learned, judged = _carve(learned, path / learned_name)
    else:
        judged = _same_classes(read(judged_name), learned.pictures, path)
        if not allow_overlap:
            _refuse_overlap(learned, judged)
    reports = (learned.report,) if learned.report is judged.report else (learned.report, judged.report)
    contents = hashlib.sha256(b"".join((*learned.digests, *judged.digests))).hexdigest()
    return LabelledSet(
        train=learned.pictures,
        val=judged.pictures,
        reports=reports,
        fingerprint=fingerprint_of(contents, learned.pictures, judged.pictures),
    )


def _read(path: Path, split: str, *, max_bad: float, allow_outside: Path | None) -> Part:
    """Read one split whole: every class folder, every header, every byte."""
    folder = path / split
    names = class_names(folder)
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = pictures_in(folder / name)
        if not found:
            refuse_empty(folder / name)
        files += [(Path(split) / name / picture).as_posix() for picture in found]
        labels += [label] * len(found)
    raw = _raw(path, split, names=names, files=files)
    classes = check_classes(raw)
    scan = scan_pictures(raw, formats=SAFE_FORMATS, allow_outside=allow_outside, refuse=refuse)
    report, all_labels = raw.report, np.array(labels, np.int64)
    report.images, report.quarantined_images = len(files), int((~scan.usable).sum())
    for label, name in enumerate(classes):
        read, used = (int((all_labels == label).sum()), int(((all_labels == label) & scan.usable).sum()))
        report.per_class[name] = ClassCount(read=read, used=used, quarantined=read - used)
    _check_amounts(folder, report, max_bad=max_bad)
    kept = np.flatnonzero(scan.usable)
    return Part(
        Labelled(
            name=path.name if split == "." else split,
            root=scan.root,
            classes=classes,
            files=tuple(scan.files[i] for i in kept),
            sizes=scan.shown[kept].astype(np.int32),
            labels=all_labels[kept],
        ),
        tuple(scan.digests[i] for i in kept),
        report,
    )


def _raw(path: Path, split: str, *, names: list[str], files: list[str]) -> RawData:
    """Put the files of a split in the columns of a source without boxes."""
    source = path / split
    return RawData(
        source=source,
        split=split,
        format="folders",
        roots=(path,),
        report=DataReport(source=escape(str(source)), format="folders"),
        classes=tuple(names),
        category_ids=tuple(range(len(names))),
        files=files,
        image_ids=list(files),
        stated=np.full((len(files), 2), np.nan),
        owner=np.zeros(0, np.int64),
        numbers=np.zeros((0, 4)),
        convention="xyxy",
        labels=np.zeros(0, np.int64),
        flags=np.zeros(0, np.uint8),
        areas=None,
        box_ids=[],
        strangers={},
        rejections={},
        picture_spot=lambda row: Spot(str(source), files[row]),
        box_spot=lambda row: Spot(str(source), files[row]),
        states_sizes=False,
    )


def _check_amounts(folder: Path, report: DataReport, *, max_bad: float) -> None:
    """Refuse a split of which too much is left out, or a class of which nothing is left."""
    bad, total = report.quarantined_images, report.images
    first = next((f for f in report.findings if f.outcome == "quarantined"), None)
    example = f", first: {first.where}: {first.reason} [{first.code}]" if first else ""
    if bad > max_bad * total:
        raise DataError(
            escape(str(folder)),
            "",
            "too-many-bad",
            f"{bad:,} of {total:,} pictures ({bad / total:.1%}) cannot be read, at most {max_bad:.1%} may{example}",
            "restore or remove them, or raise --max-bad",
        )
    for name, count in report.per_class.items():
        if not count.used:
            reason = f"not one of its {count.read:,} pictures can be read{example}"
            raise DataError(escape(str(folder / name)), "", "no-pictures", reason, "restore them")


def _carve(whole: Part, folder: Path) -> tuple[Part, Part]:
    """Set aside a tenth of every class, at least one picture, by the bytes of the pictures: equal ones stay together.

    Raises: DataError when a class has not two different pictures.
    """
    known = whole.pictures
    hashes = [digest(CARVE_SEED, "carve", d.hex()) for d in whole.digests]
    aside: set[bytes] = set()
    for label in range(len(known.classes)):
        ranked = sorted({hashes[i] for i in np.flatnonzero(known.labels == label)})
        aside.update(ranked[: min(max(1, round(CARVED * len(ranked))), len(ranked) - 1)])
    mask = np.array([h in aside for h in hashes])
    for label, name in enumerate(known.classes):
        here = mask[known.labels == label]
        if here.all() or not here.any():
            raise DataError(
                escape(str(folder / name)),
                "",
                "too-few-pictures",
                f"{len(here)} picture(s), all alike or in other classes too, cannot be divided in two",
                "add pictures, or give train and val folders",
            )
    reason = f"there is no val; {int(mask.sum()):,} of {len(known):,} pictures are kept from training for it"
    spot, hint = Spot(whole.report.source, ""), "name one with --val if you have it"
    record(whole.report, spot, outcome="noted", code="val-carved", reason=reason, hint=hint)
    return _part(whole, np.flatnonzero(~mask), known.name), _part(whole, np.flatnonzero(mask), "val")


def _part(whole: Part, rows: NDArray[np.int64], name: str) -> Part:
    return Part(whole.pictures.select(rows, name=name), tuple(whole.digests[i] for i in rows), whole.report)


def _same_classes(judged: Part, learned: Labelled, path: Path) -> Part:
    """Return `judged` with the classes of `learned`, matched by name; it may lack some, but not have others."""
    known = judged.pictures
    strangers = [name for name in known.classes if name not in learned.classes]
    if strangers:
        raise DataError(
            escape(str(path / known.name / strangers[0])),
            "",
            "classes-differ",
            f"is a class of which {escape(learned.name)} has no pictures ({len(strangers)} such)",
            "use the same names in both",
        )
    table = np.array([learned.classes.index(name) for name in known.classes], np.int64)
    return Part(
        msgspec.structs.replace(known, classes=learned.classes, labels=table[known.labels]),
        judged.digests,
        judged.report,
    )


def _refuse_overlap(learned: Part, judged: Part) -> None:
    """Refuse data of which a picture is learned from and judged on."""
    seen = dict(zip(learned.digests, learned.pictures.files, strict=True))
    pairs = [(f, seen[d]) for f, d in zip(judged.pictures.files, judged.digests, strict=True) if d in seen]
    if pairs:
        raise DataError(
            escape(judged.report.source),
            f"picture {escape(pairs[0][0])}",
            "splits-overlap",
            f"has the bytes of {escape(pairs[0][1])} in train ({len(pairs):,} such pictures)",
            "remove them from one side, or allow it (--allow-overlap)",
        )
