"""What is said while a study runs: how far it is, how long it will take, and every outcome as it comes."""

import os

from spnas.arch import Candidate
from spnas.runs.folder import RunFolder
from spnas.search.finalists import Finalists
from spnas.search.settings import SearchSettings
from spnas.study import Study
from spnas.talk import Part, Talk, duration
from spnas.tasks.eta import Eta, Seen
from spnas.worker import read_sign

ROLES = {
    "root": "root",
    "child": "candidate",
    "control": "control of",
    "rung": "candidate",
    "reignite": "re-ignition",
    "final": "final",
    "rival": "rival",
}


NETS = {"found": "found", "copies": "best with copies", "depth": "serial net of equal cost"}


class Watcher:
    """Told twice a second what is being trained; `workers` are taken to be one a core where that is not said."""

    def __init__(
        self, study: Study, search: SearchSettings, folder: RunFolder, talk: Talk, *, workers: int | None = None
    ) -> None:
        self.study, self.search, self.folder, self.talk = study, search, folder, talk
        self._told = set(study.outcomes)
        self._gains_told = set(study.archive.gains)
        self._eta = Eta(search, workers=workers, cores=os.cpu_count() or 1)

    def __call__(self, running: list[Candidate]) -> None:
        """Say what is new, and show how far things are."""
        for number in sorted(self.study.outcomes.keys() - self._told):
            self._told.add(number)
            self.talk.say(self._line(number))
        for number in sorted(self.study.archive.gains.keys() - self._gains_told):
            self._gains_told.add(number)
            self.talk.say(f"candidate {number}: {self.study.archive.gains[number]:+.3f} over training on")
        signs = {c.number: read_sign(self.folder, c.number) for c in running}
        steps = {number: sign.step if sign else 0 for number, sign in signs.items()}
        parts = [
            Part(name_of(c, self.study.archive.finalists), steps[c.number], c.steps_here)
            for c in sorted(running, key=lambda c: c.number)
        ]
        self.talk.show([self._whole(steps), *parts])

    def _whole(self, steps: dict[int, int]) -> Part:
        study = self.study
        over = {phase for phase in self.search.phases if study.is_over(phase)}
        left = self._eta.left(Seen(study.candidates, study.outcomes, study.archive, over, steps), study.seconds)
        if left is None:
            return Part("study, time left not known yet", 0.0, 1.0)
        return Part(f"study, about {duration(left)} left", study.seconds, study.seconds + left)

    def _line(self, number: int) -> str:
        candidate, outcome = self.study.candidates[number], self.study.outcomes[number]
        name = name_of(candidate, self.study.archive.finalists)
        return line_of(candidate, name, outcome.failure, outcome.metrics, outcome.gmacs, self.search.objective.metric)


def name_of(candidate: Candidate, finalists: Finalists | None) -> str:
    """Return what a candidate is called when it is spoken of."""
    role = ROLES[candidate.role]
    if candidate.role == "final" and finalists is not None and candidate.finalist is not None:
        return f"final of {NETS[finalists.nets[candidate.finalist].label]}, seed {candidate.seed}"
    if candidate.role in ("final", "rival"):
        return f"{role}, seed {candidate.seed}"
    number = candidate.parent if candidate.role == "control" else candidate.number
    if candidate.role == "rung":
        return f"{role} {number}, going on with {candidate.continues}"
    return f"{role} {number}"


def line_of(
    candidate: Candidate, name: str, failure: str | None, metrics: dict[str, float], gmacs: float, metric: str
) -> str:
    """Return what is said of an outcome."""
    if failure:
        return f"{name} failed: {failure}"
    if candidate.role == "reignite":
        errors = ", ".join(f"{name.replace('_', ' ')} {100 * value:.1f} %" for name, value in sorted(metrics.items()))
        return f"{name}: {errors}, {candidate.arch.text}"
    shown = f"AP {metrics.get('ap', float('nan')):.3f}"
    if metric != "ap" and metric in metrics:
        shown = f"{metric} {metrics[metric]:.3f}, {shown}"
    early = f" after {candidate.until} steps" if candidate.until is not None else ""
    return f"{name}: {shown}{early}, {gmacs:.3g} GMAC, {candidate.arch.text}"
