"""What is tried in a study, and what was learned from it."""

from typing import Literal

import msgspec

from spnas.arch.arch import Arch
from spnas.arch.move import Move

Role = Literal["root", "child", "control", "final", "rival"]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One training to be done: a pure value, so that a study can be replayed.

    number: position in the study, from 0.
    role: root (trained in full), child (starts from its parent's weights), control (the parent itself, trained on
      for as many steps as a child), final (a finalist trained from scratch), rival (the uniformly scaled ResNet).
    parent: number of the candidate whose weights it starts from.
    seed: of the study for all roles but final and rival, which are repeated with several seeds.
    """

    number: int
    role: Role
    arch: Arch
    steps: int
    seed: int
    parent: int | None = None
    moves: tuple[Move, ...] = ()
    finalist: int | None = None  # final: the candidate of the search it repeats; rival: the one it is matched to


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned: `metrics` (ap, ap50, ap_small, ... in 0..1; NaN is never stored), or why it failed.

    judged_on: "search-val" (carved from train) or "val".
    weights: file name inside the study folder, with its SHA-256; None when it failed.
    seconds and peak_memory_mib differ between runs and are left out of the canonical dump.
    """

    number: int
    failure: str | None = None
    metrics: dict[str, float] = {}
    judged_on: str = "search-val"
    gmacs: float = 0.0
    params: int = 0
    weights: str | None = None
    sha256: str | None = None
    seconds: float = 0.0
    peak_memory_mib: float = 0.0
