"""What a worker makes sure of before it works."""

from pathlib import Path

import msgspec
import pytest

from spnas.config import StudySettings
from spnas.data.choice import DataChoice
from spnas.data.open import open_data
from spnas.errors import IntegrityError
from spnas.runs.folder import RunFolder
from spnas.worker import make_work
from tests.tasks.test_watch import settings_of


def begun(place: Path, settings: StudySettings) -> str:
    folder = RunFolder(place)
    with folder.lock():
        folder.begin(msgspec.json.encode(settings))
    return str(folder.root)


def test_a_worker_whose_data_are_others_than_the_study_s_does_not_work(tiny_folder: Path, tmp_path: Path) -> None:
    """Another machine's copy may be older; candidates that were judged on different data do not compare."""
    choice = DataChoice(path=str(tiny_folder))
    known = msgspec.structs.replace(settings_of(), data=choice, fingerprint=open_data(tiny_folder).fingerprint)
    assert callable(make_work(begun(tmp_path / "same", known)))
    other = msgspec.structs.replace(known, fingerprint="0" * 64)
    with pytest.raises(IntegrityError, match="not those that the study began with"):
        make_work(begun(tmp_path / "other", other))
