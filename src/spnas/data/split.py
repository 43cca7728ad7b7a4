"""Divide pictures in two by a keyed hash: the same ones whatever their order, whoever asks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spnas.data.records import Annotations
from spnas.errors import DataError, escape
from spnas.rng import digest


def carve(annotations: Annotations, *, share: float, seed: int) -> tuple[Annotations, Annotations]:
    """Return (the rest, about `share` of the pictures), at least one on each side, in their old order.

    Raises: DataError when there are fewer than two pictures.
    """
    mask = chosen(annotations, share=share, seed=seed, keys=annotations.files)
    return (
        annotations.select(np.flatnonzero(~mask), name=f"{annotations.name}-rest"),
        annotations.select(np.flatnonzero(mask), name=f"{annotations.name}-carved"),
    )


def chosen(annotations: Annotations, *, share: float, seed: int, keys: Sequence[str]) -> NDArray[np.bool_]:
    """Return which pictures (N,) make up `share`, by their keys alone; those of equal keys stay together.

    Raises: DataError when there are fewer than two different keys.
    """
    hashes = [digest(seed, "carve", key) for key in keys]
    ranked = sorted(set(hashes))
    if len(ranked) < 2:
        raise DataError(
            escape(str(annotations.root)),
            annotations.name,
            "too-few-pictures",
            f"{len(hashes)} picture(s), all alike, cannot be divided in two",
            "add pictures, or give a train and a val set of your own",
        )
    wanted = min(max(1, round(share * len(ranked))), len(ranked) - 1)
    return np.array([h <= ranked[wanted - 1] for h in hashes])
