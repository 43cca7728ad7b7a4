"""Studies that earlier versions of spnas left: they are read, and going on with them is refused by one clear line."""

import hashlib
import json
import shutil
from pathlib import Path

import msgspec
import pytest

from spnas.config import StudySettings
from spnas.errors import UsageError
from spnas.runs import RunFolder
from spnas.runs.damage import damage_in
from spnas.tasks.resume import stored_settings
from spnas.tasks.study import repair, verify

STUDIES = Path(__file__).parents[1] / "golden" / "studies"


def study(name: str, place: Path) -> Path:
    shutil.copytree(STUDIES / name, place / name)
    return place / name


def rewrite(root: Path, **changes: object) -> None:
    """Write the settings of a study anew, with a right checksum."""
    whole = json.loads((root / "study.json").read_bytes())
    settings = json.dumps(whole["settings"] | changes).encode()
    checksum = hashlib.sha256(b"%d %b" % (whole["schema"], settings)).hexdigest()
    label = {"kind": whole["kind"], "schema": whole["schema"], "sha256": checksum}
    (root / "study.json").write_bytes(json.dumps(label).encode()[:-1] + b', "settings": ' + settings + b"}")


@pytest.mark.parametrize("name", ["schema1", "schema2", "schema3"])
def test_a_ledger_of_any_schema_is_read(name: str, tmp_path: Path) -> None:
    """Candidates, outcomes, time and the canonical dump; the whole is in order but for the weights, not kept here."""
    folder = RunFolder(study(name, tmp_path))
    with folder.open_ledger(read_only=True) as ledger:
        candidates, outcomes = ledger.candidates(), ledger.outcomes()
        assert [c.number for c in candidates] == list(outcomes) == list(range(len(candidates)))
        assert {c.role for c in candidates} >= {"root", "child", "control", "final", "rival"}
        assert all(o.failure is None and o.metrics["ap"] >= 0 for o in outcomes.values())
        assert ledger.elapsed_seconds() > 0
        lines = [json.loads(line) for line in ledger.dump().splitlines()]
    assert sum("candidate" in line for line in lines) == len(candidates)
    verdict = next(line["value"] for line in lines if line.get("note") == "verdict")
    assert verdict["finalist"] in outcomes
    weights = [outcome for outcome in outcomes.values() if outcome.weights]
    damage = damage_in(folder)
    assert {d.kind for d in damage} == {"weights"}
    assert [d.number for d in damage] == [outcome.number for outcome in weights]


def test_the_present_schema_is_gone_on_with(tmp_path: Path) -> None:
    """The fixture of today's schema is complete: nothing in it is refused."""
    stored = stored_settings(RunFolder(study("schema3", tmp_path)), StudySettings)
    assert stored is not None
    assert stored.schema == msgspec.structs.fields(StudySettings)[0].default
    assert stored.search.phases == ("serial", "parallel", "final")


def test_going_on_with_an_older_schema_is_refused_with_what_can_be_done(tmp_path: Path) -> None:
    """Not as `something else`: the line says which schema it is, that it can be read, and two ways on."""
    root = study("schema1", tmp_path)
    with pytest.raises(UsageError, match=r"schema 1, this one goes on with 3\); 'spnas ledger dump' still reads it"):
        stored_settings(RunFolder(root), StudySettings)
    before = (root / "ledger.sqlite").read_bytes()
    assert len(verify(root).problems) == 6
    with pytest.raises(UsageError, match="repair it with the spnas that wrote it"):
        repair(root)
    assert (root / "ledger.sqlite").read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """Of the settings as of the folder, also where all fields happen to be known."""
    root = study("schema3", tmp_path)
    rewrite(root, schema=4)
    with pytest.raises(UsageError, match="schema 4, newer than 3; install the spnas that wrote it"):
        stored_settings(RunFolder(root), StudySettings)
    text = (root / "study.json").read_text()
    (root / "study.json").write_text(text.replace('"schema": 1', '"schema": 2', 1))
    with pytest.raises(UsageError, match="schema 2 is newer than 1; install the spnas that wrote it"):
        verify(root)


def test_a_folder_of_something_else_is_still_said_to_be_that(tmp_path: Path) -> None:
    """Settings without a schema, such as those of a training."""
    folder = RunFolder(tmp_path / "net")
    with folder.lock():
        folder.begin(b'{"arch": "basic: 8x1"}')
    with pytest.raises(UsageError, match="holds something else than what this command makes"):
        stored_settings(folder, StudySettings)
