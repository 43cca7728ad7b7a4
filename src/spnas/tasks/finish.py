"""What a finished search hands over: the best detector, and a page to look at."""

import shutil
from pathlib import Path

from spnas.arch import Candidate, Outcome
from spnas.report import write_report
from spnas.runs.damage import of_best
from spnas.runs.files import faults_named, sha256, write_atomic
from spnas.runs.folder import RunFolder
from spnas.runs.repair import free_name
from spnas.study import Study
from spnas.talk import Talk
from spnas.tasks.page import Told, study_page
from spnas.train.described import BUNDLE
from spnas.train.weights import load_model, write_bundle


def finish(folder: RunFolder, study: Study, told: Told, talk: Talk) -> int | None:
    """Write `best/` and `report.html`; return the number of the best detector, None when there is none.

    It is the best final; where the search has no final phase, the fittest net of the search.
    """
    best = _best(study, told)
    if best is not None and not _published(folder, study.outcomes[best.number]):
        outcome = study.outcomes[best.number]
        detector, config = load_model(folder.path_of(str(outcome.weights)), digest=outcome.sha256)
        _put_aside(folder.best, talk)
        folder.publish_best(lambda into: write_bundle(into, detector, config))
    for number in study.outcomes:  # nobody goes on from here
        shutil.rmtree(folder.checkpoint(number), ignore_errors=True)
    talk.say("writing the report")
    write_atomic(folder.report, write_report(study_page(folder, study, told)))
    return best.number if best else None


def _best(study: Study, told: Told) -> Candidate | None:
    if "final" not in told.settings.search.phases:
        fittest = told.finalists.nets[0].candidate
        return None if fittest is None else study.candidates[fittest]
    objective = told.settings.search.objective
    finals = [c for c in study.candidates if c.role in ("final", "rival") and _succeeded(study, c)]
    return max(
        finals, key=lambda c: (objective.value(study.outcomes[c.number].metrics) or 0.0, -c.number), default=None
    )


def _published(folder: RunFolder, outcome: Outcome) -> bool:
    """Whether `best/` holds this detector already; what else a user has put there is then left alone."""
    model = folder.best / "model.safetensors"
    return model.is_file() and sha256(model) == outcome.sha256 and not of_best(folder)


def _put_aside(best: Path, talk: Talk) -> None:
    """Rename `best` where its owner has put something beside an earlier model, which belongs to that one."""
    if not best.exists() or {path.name for path in best.iterdir()} <= BUNDLE:
        return
    aside = free_name(best.parent, "best-before-")
    with faults_named(best):
        best.rename(aside)
    talk.say(f"there is a better model; the one before, and what was put beside it, is in {aside}")


def _succeeded(study: Study, candidate: Candidate) -> bool:
    outcome = study.outcomes.get(candidate.number)
    return outcome is not None and outcome.failure is None
