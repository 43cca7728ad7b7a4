"""`spnas study`: all damage is named, and what can be mended is mended without losing anything."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from tests.journey import engine
from typer.testing import CliRunner

from spnas.cli import app
from spnas.errors import IntegrityError, StudyInUseError, UsageError
from spnas.runs import RunFolder, files
from spnas.runs.seal import seal
from spnas.tasks.study import describe_repaired, repair, verify

FLIPS, CUTS = 1000, 200


def sealed() -> bytes:
    """A checkpoint as a training leaves it."""
    tensors = {"module.w": torch.arange(60.0).reshape(6, 10), "average.w": torch.ones(3)}
    return seal(save(tensors, {"progress": '{"step": 5, "average_step": 5, "key": "k"}'}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study, with a checkpoint of a training that was interrupted."""
    root = tmp_path_factory.mktemp("studies") / "finished"
    engine.play(root)
    keep_checkpoint(root)
    return root


def keep_checkpoint(root: Path) -> Path:
    path = RunFolder(root).checkpoint(77) / "training.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(sealed())
    return path


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "study")
    return tmp_path / "study"


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])


def content(path: Path) -> object:
    """Return what a ledger says, which a flip in a byte that holds nothing leaves as it is."""
    with RunFolder(path.parent).open_ledger(read_only=True) as ledger:
        return ledger.dump(), ledger.elapsed_seconds()


def artefacts(root: Path, chance: random.Random) -> dict[str, Path]:
    """Return one file of every kind that a study leaves."""
    weights = sorted((root / "weights").iterdir())
    return {
        "study.json": root / "study.json",
        "ledger": root / "ledger.sqlite",
        "weights": chance.choice(weights),
        "checkpoint": root / "checkpoints" / "00077" / "training.safetensors",
        "best": chance.choice(sorted((root / "best").iterdir())),
        "start": root / "start.safetensors",
    }


@pytest.mark.parametrize(("damage", "times"), [(flip, FLIPS), (cut, CUTS)])
def test_every_flipped_bit_and_every_cut_is_found_and_its_file_is_named(
    damage: Callable[[Path, random.Random], None], times: int, study: Path
) -> None:
    """In every kind of file; a bit of the ledger that holds nothing, as between two records, may be any."""
    chance, found, nothing = random.Random(times), dict[str, int](), 0
    assert verify(study).problems == ()
    known = content(study / "ledger.sqlite")
    for number in range(times):
        files_ = artefacts(study, chance)
        kind = list(files_)[number % len(files_)]
        path = files_[kind]
        whole = path.read_bytes()
        damage(path, chance)
        problems = [*verify_or_refuse(study)]
        if kind == "ledger" and not problems:
            assert content(path) == known
            nothing += 1
        else:
            assert problems, f"{kind}: nothing is found"
            assert any(str(path) in line or str(path.parent) in line for line in problems), (path, problems)
            assert all("\n" not in line for line in problems)
            found[kind] = found.get(kind, 0) + 1
        path.write_bytes(whole)
    assert verify(study).problems == ()
    assert sum(found.values()) + nothing == times
    assert len(found) == 6


def verify_or_refuse(root: Path) -> tuple[str, ...]:
    """Return the problems; a schema that became newer by a flip is refused by its own line."""
    try:
        return verify(root).problems
    except UsageError as fault:
        return (str(fault),)


def test_a_sound_study_has_nothing_to_mend(study: Path) -> None:
    """Nothing in it is touched."""
    before = engine.files_in(study), files.sha256(study / "ledger.sqlite")
    assert repair(study).done == ()
    assert describe_repaired(repair(study)) == [f"{study}: nothing to mend"]
    assert (engine.files_in(study), files.sha256(study / "ledger.sqlite")) == before


def goes_on_as(root: Path, whole: Path) -> None:
    """Assert that the study goes on to what the other one is, and lost nothing on the way."""
    weights = {p.name: files.sha256(p) for p in (whole / "weights").iterdir()}
    assert engine.play(root) == engine.play(whole)
    assert verify(root).problems == ()
    assert {p.name: files.sha256(p) for p in (root / "weights").iterdir()}.items() <= weights.items()
    for name in ("best/model.safetensors", "best/manifest.json", "report.html"):
        assert files.sha256(root / name) == files.sha256(whole / name)


def stopped(finished: Path, root: Path, after: int) -> None:
    """Make the study that the finished one was after so many candidates, before any phase was over."""
    from spnas.runs.repair import replace_ledger, salvage

    shutil.copytree(finished, root)
    events = salvage(root / "ledger.sqlite").events
    last = next(i for i, event in enumerate(events) if event[1] == "candidate" and event[2] == str(after))
    replace_ledger(RunFolder(root), events[:last], None).unlink()
    shutil.rmtree(root / "best")


@pytest.mark.parametrize("number", [0, 4, 9])
@pytest.mark.parametrize("gone", [True, False])
def test_weights_that_are_needed_are_trained_again(number: int, gone: bool, finished: Path, tmp_path: Path) -> None:
    """What was proposed from them is set aside; the ledger that was is kept beside the new one."""
    root = tmp_path / "study"
    stopped(finished, root, after=20)
    before = RunFolder(root).open_ledger(read_only=True)
    with before:
        outcomes = before.outcomes()
        names = [n for n, outcome in outcomes.items() if outcome.weights and before.candidates()[n].role != "control"]
    number = names[min(number, len(names) - 1)]
    path = RunFolder(root).weights(number)
    path.unlink() if gone else path.write_bytes(b"rot")
    assert [str(path) in line for line in verify(root).problems] == [True]
    result = repair(root)
    assert result.left == ()
    assert any(path.name in line for line in result.done)
    assert verify(root).problems == ()
    assert (root / "ledger-before-repair-1.sqlite").exists()
    assert gone or (root / "damaged" / f"weights-{path.name}.1").read_bytes() == b"rot"
    with RunFolder(root).open_ledger(read_only=True) as ledger:
        assert number not in ledger.outcomes()
        assert ledger.outcomes().items() <= outcomes.items()
        proposed = [c for c in ledger.candidates() if c.parent == number or c.continues == number]
    assert proposed == []
    goes_on_as(root, finished)


def test_weights_that_nobody_needs_any_more_are_put_aside(study: Path, finished: Path) -> None:
    """The root's, once the finals are on: the study stays as it is, and says so."""
    path = RunFolder(study).weights(0)
    path.write_bytes(b"rot")
    assert len(verify(study).problems) == 1
    before = content(study / "ledger.sqlite")
    (line,) = repair(study).done
    assert "nobody needs it any more; it is in damaged/weights-00000.safetensors.1" in line
    assert content(study / "ledger.sqlite") == before
    assert verify(study).problems == ()
    assert "is gone, and nobody needs it any more" in verify(study).notes[0]
    assert engine.play(study) == engine.play(finished)


def test_a_damaged_final_is_trained_again_and_nothing_else(study: Path, finished: Path) -> None:
    """Finals are proposed whatever the others' outcomes are."""
    with RunFolder(study).open_ledger(read_only=True) as ledger:
        final = next(c.number for c in ledger.candidates() if c.role == "final")
        outcomes = ledger.outcomes()
    flip(RunFolder(study).weights(final), random.Random(1))
    repair(study)
    with RunFolder(study).open_ledger(read_only=True) as ledger:
        assert set(outcomes) - set(ledger.outcomes()) == {final}
        assert ledger.noted("verdict", dict[str, object]) is None
        assert ledger.noted("finalists", dict[str, object]) is not None
    goes_on_as(study, finished)
    assert set(begun_since(study)) == {final}


def begun_since(root: Path) -> list[int]:
    return [int(line.split()[1]) for line in Path(f"{root}.trace").read_text().splitlines() if line[:5] == "begin"]


def test_a_ledger_with_a_damaged_event_is_set_back_to_before_it(study: Path, finished: Path) -> None:
    """What holds is kept; the same command does the rest again."""
    ledger = study / "ledger.sqlite"
    whole = ledger.read_bytes()
    at = whole.index(b'"number":17,')
    ledger.write_bytes(whole[: at + 9] + b"9" + whole[at + 10 :])
    assert "is not what its checksum says" in verify(study).problems[0]
    (line,) = repair(study).done
    assert "events hold and were kept; the damaged ledger is ledger-before-repair-1.sqlite" in line
    assert verify(study).problems == ()
    goes_on_as(study, finished)


def test_what_cannot_be_mended_is_left_as_it_is_and_said(study: Path) -> None:
    """A ledger that is no database, and settings that nothing else holds."""
    (study / "ledger.sqlite").write_bytes(b"rot" * 5000)
    result = repair(study)
    assert result.done == ()
    assert "is no ledger of spnas" in result.left[0]
    for damaged in (b"{", b""):
        (study / "study.json").write_bytes(damaged)
        with pytest.raises(IntegrityError, match="is lost, and cannot be made again"):
            repair(study)
        assert len(verify(study).problems) == 2


def test_bundle_checkpoint_and_what_is_half_written_are_cleared_away(study: Path, finished: Path) -> None:
    """A damaged bundle is published again, a damaged checkpoint is begun again, half files go."""
    (study / "best" / "config.json").write_bytes(b"{}")
    flip(study / "checkpoints" / "00077" / "training.safetensors", random.Random(2))
    (study / "weights" / ".spnas-1-1.tmp").touch()
    assert len(verify(study).problems) == 2
    done = " ".join(repair(study).done)
    for said in ("removed weights/.spnas-1-1.tmp", "best: was damaged; it is in damaged/best.1", "trains from the sta"):
        assert said in done
    assert verify(study).problems == ()
    goes_on_as(study, finished)


def test_a_start_is_needed_until_the_root_has_begun(study: Path, finished: Path, tmp_path: Path) -> None:
    """Afterwards nobody asks for it."""
    (study / "start.safetensors").write_bytes(b"rot")
    assert "nobody needs it any more" in repair(study).done[0]
    stopped(finished, tmp_path / "early", after=1)
    folder = RunFolder(tmp_path / "early")
    shutil.rmtree(folder.root / "weights")
    folder.ledger.unlink()
    folder.start.write_bytes(b"rot")
    assert "start.safetensors: its SHA-256 is" in repair(folder.root).left[0]


def test_a_torn_write_is_rolled_back(tmp_path: Path) -> None:
    """A writer killed in the middle of a write leaves a journal; it is said that it was used."""
    root = tmp_path / "study"
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom tests.journey import engine\nfrom spnas.runs import RunFolder\n"
        "engine.play(Path(sys.argv[2]))\n"
        "ledger = RunFolder(sys.argv[2]).open_ledger()\n"
        "ledger._connection.execute('PRAGMA cache_size = 1')\n"
        "ledger._connection.execute('BEGIN IMMEDIATE')\n"
        "for i in range(200): ledger._insert('note', f'n{i}', b'1' * 2000)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(engine.HERE), str(root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (root / "ledger.sqlite-journal").exists()
    assert repair(root).done == ("ledger.sqlite: a write that was not finished was rolled back",)
    assert not (root / "ledger.sqlite-journal").exists()
    assert verify(root).problems == ()


def test_a_study_that_is_written_to_is_not_repaired(study: Path, tmp_path: Path) -> None:
    """Verifying changes nothing, so it may always be done; elsewhere there is nothing to verify."""
    with RunFolder(study).lock():
        assert verify(study).problems == ()
        with pytest.raises(StudyInUseError, match=f"process {os.getpid()} on"):
            repair(study)
    for ask in (verify, repair):
        with pytest.raises(UsageError, match="no study there"):
            ask(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_the_command_says_it_by_exit_code_and_line(study: Path) -> None:
    """0 for a sound study, 5 for a damaged one, JSON where it is asked for."""
    command = CliRunner()
    sound = command.invoke(app, ["study", "verify", str(study)])
    assert (sound.exit_code, sound.stdout) == (0, f"{study}: sound\n")
    (study / "best" / "config.json").write_bytes(b"{}")
    (study / "weights" / "00000.safetensors").write_bytes(b"rot")
    damaged = command.invoke(app, ["study", "verify", str(study)])
    assert damaged.exit_code == 5
    assert len(damaged.stdout.splitlines()) == 2
    as_json = command.invoke(app, ["study", "verify", str(study), "--json"])
    assert len(json.loads(as_json.stdout)["problems"]) == 2
    mended = command.invoke(app, ["study", "repair", str(study), "--json"])
    assert mended.exit_code == 0
    assert len(json.loads(mended.stdout)["done"]) == 2
    (study / "ledger.sqlite").write_bytes(b"")
    assert command.invoke(app, ["study", "repair", str(study)]).exit_code == 5
