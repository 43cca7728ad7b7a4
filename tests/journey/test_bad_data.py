"""Malformed data, as the command meets it: one line on stderr, exit code 2, no traceback, nothing on stdout."""

from typing import Any

import pytest
from tests.data.conftest import coco  # noqa: F401 - a fixture
from tests.data.test_malformed_coco import CASES, Case

from spnas.cli import main


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.row}-{c.name}".replace(" ", "-"))
def test_bad_data_gets_one_line_and_exit_2(
    case: Case,
    coco: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = coco(case.change)
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr("sys.argv", ["spnas", "train", "resnet18", "--data", str(folder), "--steps", "1"])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert said.out == ""
    lines = said.err.strip().splitlines()
    assert lines[-1].startswith("spnas: error: ")
    assert case.code in lines[-1]
    assert sum("error" in line for line in lines) == 1
    assert "Traceback" not in said.err
