"""What is tried in a study, and what was learned from it."""

from typing import Literal

import msgspec

from spnas.arch.arch import Arch
from spnas.arch.move import Move

Role = Literal["root", "child", "control", "rung", "reignite", "final", "rival"]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One training to be done: a pure value, so that a study can be replayed.

    number: position in the study, from 0.
    role: root (trained in full), child (starts from its parent's weights), control (the parent itself, trained on
      for as many steps as a child), rung (a child that was stopped early and is worth going on with), reignite (a
      backbone trained as a classifier), final (a finalist trained from scratch), rival (the uniformly scaled ResNet).
    phase: the phase that proposed it.
    parent: number of the candidate whose weights it starts from.
    seed: of the study for all roles but final and rival, which are repeated with several seeds.
    until: a child that is stopped after so many of its steps, and judged as it is then.
    look: a control that is judged after so many steps too, to compare such children with.
    continues: rung: number of the child that it goes on with.
    finalist: final and rival: place among the finalists of the net that it repeats, or is matched to.
    """

    number: int
    role: Role
    arch: Arch
    steps: int
    seed: int
    phase: str = "serial"
    parent: int | None = None
    moves: tuple[Move, ...] = ()
    until: int | None = None
    look: int | None = None
    continues: int | None = None
    finalist: int | None = None

    @property
    def steps_here(self) -> int:
        """Steps after which this training ends; a rung begins where the child it goes on with was stopped."""
        return self.until if self.until is not None else self.steps


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned: `metrics` (ap, ap50, ap_small, ... in 0..1; NaN is never stored), or why it failed.

    judged_on: "search-val" (carved from train), "val", or for a classifier the name of its data.
    early: what `metrics` was at the control's `look`.
    weights: file name inside the study folder, with its SHA-256; None when it failed or was stopped early.
    seconds differ between runs and are left out of the canonical dump.
    """

    number: int
    failure: str | None = None
    metrics: dict[str, float] = {}
    early: dict[str, float] = {}
    judged_on: str = "search-val"
    gmacs: float = 0.0
    params: int = 0
    weights: str | None = None
    sha256: str | None = None
    seconds: float = 0.0
