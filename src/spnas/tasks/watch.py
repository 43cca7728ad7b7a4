"""What is said while a study runs: how far it is, how long it will take, and every outcome as it comes."""

from spnas.arch import Candidate
from spnas.runs.folder import RunFolder
from spnas.search.phases import reignite
from spnas.search.settings import SearchSettings
from spnas.study import Study
from spnas.talk import Part, Talk, duration
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


class Watcher:
    """Told twice a second what is being trained."""

    def __init__(self, study: Study, search: SearchSettings, folder: RunFolder, talk: Talk) -> None:
        self.study, self.search, self.folder, self.talk = study, search, folder, talk
        self._told = set(study.outcomes)
        self._gains_told = set(study.archive.gains)
        self._began_seconds = study.seconds
        self._done = float(sum(study.candidates[n].steps_here for n in study.outcomes))
        self._began_steps = self._done

    def __call__(self, running: list[Candidate]) -> None:
        """Say what is new, and show how far things are."""
        for number in sorted(self.study.outcomes.keys() - self._told):
            self._told.add(number)
            self._done += self.study.candidates[number].steps_here
            self.talk.say(self._line(number))
        for number in sorted(self.study.archive.gains.keys() - self._gains_told):
            self._gains_told.add(number)
            self.talk.say(f"candidate {number}: {self.study.archive.gains[number]:+.3f} over its control")
        signs = {c.number: read_sign(self.folder, c.number) for c in running}
        parts = [
            Part(name_of(c), sign.step if (sign := signs[c.number]) else 0, c.steps_here)
            for c in sorted(running, key=lambda c: c.number)
        ]
        done = self._done + sum(part.done for part in parts)
        total = max(steps_planned(self.study, self.search), done)
        self.talk.show([Part(f"study, {self._remaining(done, total)}", done, total), *parts])

    def _remaining(self, done: float, total: float) -> str:
        fresh = done - self._began_steps
        if fresh < 20:
            return "time left not known yet"
        pace = (self.study.seconds - self._began_seconds) / fresh
        return f"about {duration(pace * (total - done))} left"

    def _line(self, number: int) -> str:
        candidate, outcome = self.study.candidates[number], self.study.outcomes[number]
        return line_of(candidate, outcome.failure, outcome.metrics, outcome.gmacs, self.search.objective.metric)


def steps_planned(study: Study, search: SearchSettings) -> float:
    """Return steps so far proposed plus those still to come, with as many controls per child as there were."""
    plan, archive = search.plan, study.archive
    proposed = float(sum(c.steps_here for c in study.candidates))
    children = len(archive.of_role("child", "serial"))
    controls = len(archive.of_role("control", "serial"))
    share = (1 + (controls / children if children else 0.5)) * plan.child_steps
    if not search.rules.controls:
        share = plan.child_steps
    if "serial" in search.phases and not study.is_over("serial"):
        proposed += share * max(0, plan.candidates - children - reignite.charge(archive, search))
    if "parallel" in search.phases and not study.is_over("parallel"):
        proposed += share * max(0, plan.copies - len(archive.of_role("child", "parallel")))
    if "final" in search.phases:
        finals = len(archive.of_role("final", "final")) + len(archive.of_role("rival", "final"))
        nets = len(archive.finalists.nets) if archive.finalists else plan.finalists
        proposed += max(0, (nets + 1) * plan.seeds - finals) * plan.final_steps
    return proposed


def name_of(candidate: Candidate) -> str:
    """Return what a candidate is called when it is spoken of."""
    role = ROLES[candidate.role]
    if candidate.role in ("final", "rival"):
        return f"{role} seed {candidate.seed}"
    number = candidate.parent if candidate.role == "control" else candidate.number
    if candidate.role == "rung":
        return f"{role} {number}, going on with {candidate.continues}"
    return f"{role} {number}"


def line_of(candidate: Candidate, failure: str | None, metrics: dict[str, float], gmacs: float, metric: str) -> str:
    """Return what is said of an outcome."""
    if failure:
        return f"{name_of(candidate)} failed: {failure}"
    if candidate.role == "reignite":
        errors = ", ".join(f"{name.replace('_', ' ')} {100 * value:.1f} %" for name, value in sorted(metrics.items()))
        return f"{name_of(candidate)}: {errors}, {candidate.arch.text}"
    shown = f"AP {metrics.get('ap', float('nan')):.3f}"
    if metric != "ap" and metric in metrics:
        shown = f"{metric} {metrics[metric]:.3f}, {shown}"
    early = f" after {candidate.until} steps" if candidate.until is not None else ""
    return f"{name_of(candidate)}: {shown}{early}, {gmacs:.3g} GMAC, {candidate.arch.text}"
