"""Whether an exported graph finds what the detector finds that it was made from.

Rows are matched one to one within a picture: of the same label, boxes within `BOX_PX`, scores within `SCORE`; in which
order they stand does not matter, and those that barely made it, by the threshold or by the number of rows, need no
partner. Where a picture does not match, the detector itself is asked again, in double precision and about pictures
that differ from it by less than rounding does: what it finds in every case has to be found, and nothing may be found
that it finds in none. So a decision that hangs on rounding, of suppression or of the best thousand, counts as either.
"""

from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spnas.errors import IntegrityError
from spnas.export.session import Rows
from spnas.rng import rng

BOX_PX, SCORE = 0.01, 1e-4
ASKED_AGAIN, NOISE = 8, 1e-5  # times, and how much of a normalised pixel
Feed = tuple[NDArray[np.float32], NDArray[np.int64]]
Look = Callable[[NDArray[np.float32], NDArray[np.int64]], Rows]


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """How far a graph is from its detector over a set of pictures.

    matched: rows with a partner; box_px and score: the largest differences between partners. lost: rows of the
    detector without one; extra: rows of the graph. undecided: pictures in which a decision hangs on rounding.
    """

    pictures: int = 0
    matched: int = 0
    box_px: float = 0.0
    score: float = 0.0
    lost: int = 0
    extra: int = 0
    undecided: int = 0

    def __add__(self, other: "Drift") -> "Drift":
        return Drift(
            pictures=self.pictures + other.pictures,
            matched=self.matched + other.matched,
            box_px=max(self.box_px, other.box_px),
            score=max(self.score, other.score),
            lost=self.lost + other.lost,
            extra=self.extra + other.extra,
            undecided=self.undecided + other.undecided,
        )

    def __str__(self) -> str:
        undecided = f", {self.undecided} pictures undecided by rounding" if self.undecided else ""
        return (
            f"{self.matched} detections in {self.pictures} pictures: boxes within {self.box_px:.2g} px, scores within "
            f"{self.score:.2g}, {self.lost} lost, {self.extra} extra{undecided}"
        )


class Seen(msgspec.Struct, frozen=True, eq=False):
    """What is found in one picture, K rows, of which those above `floor` have to be found by others as well."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    floor: float


def torch_look(detector: nn.Module, *, dtype: torch.dtype = torch.float32) -> Look:
    """Return a detector, on the CPU, as a function of arrays."""

    @torch.no_grad()
    def look(images: NDArray[np.float32], sizes: NDArray[np.int64]) -> Rows:
        pictures = torch.from_numpy(images).to(dtype, memory_format=torch.channels_last)  # as where it is at work
        found = detector.detect(pictures, torch.from_numpy(sizes))  # type: ignore[operator]
        return Rows(*(column.numpy() for column in found))

    return look


def drift(feed: Feed, ours: Rows, theirs: Rows, *, again: Callable[[Feed], Iterable[Rows]], threshold: float) -> Drift:
    """Compare what a detector (`ours`) and its graph (`theirs`) find in a batch.

    Args:
      again: what the detector says when it is asked about a picture of the batch anew, as a batch of one.
      threshold: of scores, below which the detector itself drops.
    """
    total = Drift()
    for i in range(len(ours.boxes)):
        first, graph = seen(ours, i, threshold), seen(theirs, i, threshold)
        found = compare([first], graph)
        if found.lost or found.extra:
            more = again((feed[0][i : i + 1], feed[1][i : i + 1]))
            wider = compare([first, *(seen(rows, 0, threshold) for rows in more)], graph)
            if (wider.lost, wider.extra) == (0, 0):
                found = msgspec.structs.replace(wider, undecided=1)
        total += found
    return total


def ask_again(detector: nn.Module) -> Callable[[Feed], Iterable[Rows]]:
    """Return a function that asks a detector about one picture in other roundings."""
    plain = torch_look(detector)

    def again(feed: Feed) -> Iterable[Rows]:
        images, sizes = feed
        detector.double()
        try:
            yield torch_look(detector, dtype=torch.float64)(images, sizes)
        finally:
            detector.float()
        for time in range(ASKED_AGAIN):
            noise = rng(0, "export-gate", index=time).uniform(-NOISE, NOISE, images.shape)
            yield plain(images + noise.astype(np.float32), sizes)

    return again


def seen(rows: Rows, picture: int, threshold: float) -> Seen:
    """Return the rows of one picture that hold something."""
    real = rows.labels[picture] >= 0
    scores = rows.scores[picture][real].astype(np.float64)
    full = len(scores) == len(real)  # then the last row pushed others out
    floor = max(threshold, float(scores.min())) if full and len(scores) else threshold
    return Seen(rows.boxes[picture][real].astype(np.float64), scores, rows.labels[picture][real], floor + SCORE)


def compare(ours: list[Seen], graph: Seen) -> Drift:
    """Compare one picture: what is in all of `ours` has to be in the graph's rows, and theirs in one of ours."""
    pairs = [partners(one, graph) for one in ours]
    first, found = ours[0], pairs[0]
    certain = np.ones(len(first.scores), np.bool_)
    for one in ours[1:]:
        certain &= partners(first, one) >= 0
    partnered = np.zeros(len(graph.scores), np.bool_)
    for pair in pairs:
        partnered[pair[pair >= 0]] = True
    hit = found >= 0
    apart = np.abs(first.boxes[hit] - graph.boxes[found[hit]])
    return Drift(
        pictures=1,
        matched=int(hit.sum()),
        box_px=float(apart.max(initial=0)),
        score=float(np.abs(first.scores[hit] - graph.scores[found[hit]]).max(initial=0)),
        lost=int((~hit & certain & (first.scores > first.floor)).sum()),
        extra=int((~partnered & (graph.scores > graph.floor)).sum()),
    )


def partners(a: Seen, b: Seen) -> NDArray[np.int64]:
    """Return for every row of `a` its row of `b`, -1 where there is none; the nearest pairs come first."""
    found = np.full(len(a.scores), -1, np.int64)
    if not len(a.scores) or not len(b.scores):
        return found
    box = np.abs(a.boxes[:, None] - b.boxes[None]).max(-1) / BOX_PX
    far = np.maximum(box, np.abs(a.scores[:, None] - b.scores[None]) / SCORE)
    far[a.labels[:, None] != b.labels[None]] = np.inf
    rows, columns = np.nonzero(far <= 1)
    taken = np.zeros(len(b.scores), np.bool_)
    for k in np.argsort(far[rows, columns], kind="stable"):
        row, column = rows[k], columns[k]
        if found[row] < 0 and not taken[column]:
            found[row], taken[column] = column, True
    return found


def refuse_drift(found: Drift, *, name: str) -> None:
    """Raises: IntegrityError when a graph is not what the detector is."""
    if found.lost or found.extra:
        raise IntegrityError(
            f"{name}: the graph does not find what the detector finds ({found}; boxes have to agree within {BOX_PX} "
            f"px, scores within {SCORE}); nothing was written, please report the architecture"
        )
