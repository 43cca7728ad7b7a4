"""A study is killed at random moments and goes on as if it had not been.

SPNAS_KILLS and SPNAS_TRAINING_KILLS ask for more kills than the usual, the second with real training.
"""

import os
from pathlib import Path

from tests.journey import engine, killer

from spnas.data.generate import GeneratorSettings, generate
from spnas.runs import RunFolder
from spnas.runs.damage import damage_in

KILLS = int(os.environ.get("SPNAS_KILLS", "200"))
TRAINING_KILLS = int(os.environ.get("SPNAS_TRAINING_KILLS", "5"))
TINY = GeneratorSettings(train=16, val=8, side_px=48, objects=(1, 2), size_px=(14, 30))


def test_no_outcome_is_lost_or_learned_again_and_the_study_ends_the_same(tmp_path: Path) -> None:
    """What the driver had on record is there after every kill and is not trained again; ledger, weights, bundle and
    page of a killed study are those of one that was left alone."""
    whole = engine.play(tmp_path / "whole")
    made = engine.files_in(tmp_path / "whole")
    found = killer.run("fast", tmp_path, KILLS)
    assert sum(int(str(study["kills"])) for study in found) == KILLS
    for study in found:
        assert (study["lost"], study["again"], study["failed"]) == (0, [], 0), study["said"]
        assert study["dump"] == whole
        assert study["files"] == made


def test_a_search_with_real_training_ends_the_same_after_kills(tmp_path: Path) -> None:
    """Dump and weights of detectors that were trained are bit-identical, wherever the search was killed."""
    generate(tmp_path / "data", TINY)
    whole, *killed = killer.run("trained", tmp_path, TRAINING_KILLS)
    assert sum(int(str(study["kills"])) for study in killed) == TRAINING_KILLS
    assert len(str(whole["dump"]).splitlines()) > 8
    for study in killed:
        assert study["failed"] == 0, study["said"]
        assert study["dump"] == whole["dump"]
        assert study["files"] == whole["files"]
    for root in [tmp_path / "whole", *tmp_path.glob("study-*")]:
        assert damage_in(RunFolder(root)) == []
