"""What the README says, done: its main job as it stands there, and every command it names."""

import json
import re
import shlex
from pathlib import Path

import pytest
from tests.browser import CHROMIUM, visit
from tests.journey.test_cli import spnas

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"(?:uv run |`)(spnas [^`\n]+)", README)))


def test_the_readme_names_the_two_commands() -> None:
    assert "$ pip install uv && uv run spnas search\n" in README
    assert "$ pip install uv && uv run pytest\n" in README
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_is_understood(command: str, tmp_path: Path) -> None:
    """Words in capitals stand for the reader's own; with a folder that is not there, each gets as far as to say so."""
    words = shlex.split(command)[1:]
    verb = words[0] if words[0] not in ("classify", "ledger", "study") else " ".join(words[:2])
    shown = spnas(*verb.split(), "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.stdout


def test_the_main_job_of_the_readme(tmp_path: Path) -> None:
    """`spnas search` without arguments: at least 10 candidates and their controls, and a detector with AP50 >= .85."""
    done = spnas("search", "--json", cwd=tmp_path, timeout=1200)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["candidates"] >= 10
    assert result["best_metrics"]["ap50"] >= 0.85
    assert "over its control" in done.stderr
    report = tmp_path / "runs" / "shapes" / "report.html"
    assert report == Path(result["report"])
    if CHROMIUM is not None:
        seen = visit(report, tmp_path)
        assert seen.console == []
        assert seen.asked == []
