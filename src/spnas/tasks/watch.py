"""What is said while a study runs: how far it is, how long it will take, and every outcome as it comes."""

from spnas.arch import Candidate
from spnas.runs.folder import RunFolder
from spnas.search.front import gain
from spnas.search.settings import Plan
from spnas.study import Study
from spnas.talk import Part, Talk, duration
from spnas.worker import read_sign

ROLES = {"root": "root", "child": "candidate", "control": "control of", "final": "final", "rival": "rival"}


class Watcher:
    """Told twice a second what is being trained."""

    def __init__(self, study: Study, plan: Plan, folder: RunFolder, talk: Talk) -> None:
        self.study, self.plan, self.folder, self.talk = study, plan, folder, talk
        self._told = set(study.outcomes)
        self._began_seconds = study.seconds
        self._began_steps = self._steps_done()

    def __call__(self, running: list[Candidate]) -> None:
        """Say what is new, and show how far things are."""
        for number in sorted(self.study.outcomes.keys() - self._told):
            self._told.add(number)
            self.talk.say(self._line(number))
            for line in self._late_gains(number):
                self.talk.say(line)
        signs = {c.number: read_sign(self.folder, c.number) for c in running}
        parts = [
            Part(self._name(c), sign.step if (sign := signs[c.number]) else 0, c.steps)
            for c in sorted(running, key=lambda c: c.number)
        ]
        done = self._steps_done() + sum(part.done for part in parts)
        total = max(self._steps_planned(), done)
        self.talk.show([Part(f"study, {self._remaining(done, total)}", done, total), *parts])

    def _late_gains(self, number: int) -> list[str]:
        """Say by how much children beat the control that has just come in after them."""
        control = self.study.candidates[number]
        if control.role != "control":
            return []
        history = self.study.history
        earlier = [c.number for c in history.candidates if c.parent == control.parent and c.number in self._told]
        gains = [(n, gain(history, n)) for n in earlier]
        return [f"candidate {n}: {gained:+.3f} over its control" for n, gained in gains if gained is not None]

    def _steps_done(self) -> float:
        return float(sum(self.study.candidates[n].steps for n in self.study.outcomes))

    def _steps_planned(self) -> float:
        """Return steps so far proposed plus those still to come, with as many controls per child as there were."""
        plan, proposed = self.plan, self.study.candidates
        children = sum(c.role == "child" for c in proposed)
        controls = sum(c.role == "control" for c in proposed)
        finals = sum(c.role in ("final", "rival") for c in proposed)
        to_come = max(0, plan.candidates - children) if not finals else 0
        share = 1 + (controls / children if children else 0.5)
        still_final = (plan.finalists + 1) * plan.seeds - finals
        return sum(c.steps for c in proposed) + to_come * share * plan.child_steps + still_final * plan.final_steps

    def _remaining(self, done: float, total: float) -> str:
        fresh = done - self._began_steps
        if fresh < 20:
            return "time left not known yet"
        pace = (self.study.seconds - self._began_seconds) / fresh
        return f"about {duration(pace * (total - done))} left"

    def _name(self, candidate: Candidate) -> str:
        number = candidate.parent if candidate.role == "control" else candidate.number
        if candidate.role in ("final", "rival"):
            return f"{ROLES[candidate.role]} seed {candidate.seed}"
        return f"{ROLES[candidate.role]} {number}"

    def _line(self, number: int) -> str:
        candidate, outcome = self.study.candidates[number], self.study.outcomes[number]
        if outcome.failure:
            return f"{self._name(candidate)} failed: {outcome.failure}"
        line = (
            f"{self._name(candidate)}: AP {outcome.metrics['ap']:.3f}, {outcome.gmacs:.3g} GMAC, {candidate.arch.text}"
        )
        gained = gain(self.study.history, number)
        return line if gained is None else f"{line}, {gained:+.3f} over its control"
