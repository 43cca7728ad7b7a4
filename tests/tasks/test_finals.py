"""What the finals say, and of what."""

from pathlib import Path

import msgspec
import pytest
from tests.tasks.test_watch import settings_of

from spnas.arch import Arch, Candidate, Outcome, parse
from spnas.config import StudySettings
from spnas.errors import UsageError
from spnas.runs.ledger import Ledger
from spnas.search.archive import Archive
from spnas.search.budget import Spent
from spnas.search.finalists import Finalist, Finalists
from spnas.study import Study
from spnas.tasks.finals import judge_finals, refuse_dead_root

NET = parse("basic: 16x2 / 32x2 / 64x2 / 128x2")


def price(_arch: Arch) -> Spent:
    return Spent(gmacs=1.0, params=1)


def study_of(place: Path, settings: StudySettings, told: list[tuple[Candidate, Outcome]]) -> Study:
    search = settings.search
    ledger = Ledger.open(place / "ledger.sqlite")
    for candidate, outcome in told:
        ledger.propose(candidate)
        ledger.record(outcome)
    return Study(ledger, Archive(search.rules, search.objective, price), lag=search.lag)


def judged(place: Path, *, metric: str, ours: dict[str, float], theirs: dict[str, float], gmacs: float) -> str:
    """Return the verdict on finals over two seeds; the rival costs `gmacs`, what was found costs 1."""
    settings = settings_of()
    search = msgspec.structs.replace(
        settings.search,
        plan=msgspec.structs.replace(settings.search.plan, seeds=2),
        objective=msgspec.structs.replace(settings.search.objective, metric=metric),
    )
    told = [(Candidate(number=0, role="root", arch=NET, steps=9, seed=0), Outcome(number=0, metrics=ours))]
    for number in range(1, 5):
        mine = number % 2 == 1
        role, phase = ("final", "final") if mine else ("rival", "final")
        made = Candidate(number=number, role=role, phase=phase, arch=NET, steps=9, seed=number, finalist=0)
        told.append((made, Outcome(number=number, metrics=ours if mine else theirs, gmacs=1.0 if mine else gmacs)))
    finalists = Finalists(nets=(Finalist(label="found", arch=NET, candidate=0),), rival=NET)
    settings = msgspec.structs.replace(settings, search=search)
    verdict, copies = judge_finals(study_of(place, settings, told), settings, finalists)
    assert copies is None
    assert verdict is not None
    return verdict.sentence


@pytest.mark.parametrize(
    ("gmacs", "said"),
    [(1.04, "of the equal-cost ResNet"), (1.8, "of the ResNet nearest in cost (1.8 GMACs to 1)")],
)
def test_a_rival_that_costs_more_is_called_so(gmacs: float, said: str, tmp_path: Path) -> None:
    assert said in judged(tmp_path, metric="ap", ours={"ap": 0.5}, theirs={"ap": 0.4}, gmacs=gmacs)


def test_whether_anything_was_learned_is_told_by_ap_whatever_is_looked_for(tmp_path: Path) -> None:
    low, high = ({"loss": 1.0, "ap": ap} for ap in (0.0, 0.4))
    for name, metrics in (("low", low), ("high", high)):
        (tmp_path / name).mkdir()
        other = metrics | {"loss": 2.0}
        sentence = judged(tmp_path / name, metric="loss", ours=metrics, theirs=other, gmacs=1.0)
        assert sentence.startswith("Not known" if name == "low" else "The search paid")


@pytest.mark.parametrize(
    ("roles", "failing", "dead"),
    [
        (("root", "child"), 0, True),
        (("root", "reignite", "root"), 2, False),
        (("reignite", "root"), 0, True),
        (("reignite", "root"), 1, True),
        (("reignite", "root"), 9, False),
    ],
)
def test_without_a_root_there_is_no_search(roles: tuple[str, ...], failing: int, dead: bool, tmp_path: Path) -> None:
    """But a search that began with one goes on without another that re-ignition was to make."""
    told = []
    for number, role in enumerate(roles):
        parent = number - 1 if number else None
        phase = "serial" if roles[0] == "root" and not number else "reignite"
        made = Candidate(
            number=number,
            role=role,
            phase=phase,
            arch=NET,
            steps=9,
            seed=0,
            parent=parent,  # type: ignore[arg-type]
        )
        failure = "no luck" if number == failing else None
        told.append((made, Outcome(number=number, failure=failure, metrics={} if failure else {"ap": 0.3})))
    study = study_of(tmp_path, settings_of(), told)
    if dead:
        with pytest.raises(UsageError, match=r"the root could not be trained \(no luck\)"):
            refuse_dead_root(study)
    else:
        refuse_dead_root(study)
