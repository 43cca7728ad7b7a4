"""What the README says, done: its main job as it stands there, and every command it names."""

import ast
import inspect
import json
import re
import shlex
from pathlib import Path

import pytest
from tests.browser import CHROMIUM, visit
from tests.journey.test_cli import spnas

import spnas as spnas_itself
from spnas import tasks

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


def test_the_python_of_the_readme_calls_what_there_is_as_it_can_be_called() -> None:
    """Every call of ours in it, by name, bound to the signature that it meets."""
    calls = 0
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)).split(".")[0] in ("spnas", "tasks"):
                called = eval(name, {"spnas": spnas_itself, "tasks": tasks})  # our own README
                inspect.signature(called).bind(*node.args, **{str(k.arg): k.value for k in node.keywords})
                calls += 1
    assert calls >= 4


def test_the_main_job_of_the_readme(tmp_path: Path) -> None:
    """`spnas search` without arguments: at least 10 candidates and their controls, and a detector with AP50 >= .85."""
    done = spnas("search", "--json", cwd=tmp_path, timeout=1200)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["candidates"] >= 10
    assert result["best_metrics"]["ap50"] >= 0.85
    assert "over training on" in done.stderr
    report = tmp_path / "runs" / "shapes" / "report.html"
    assert report == Path(result["report"])
    if CHROMIUM is not None:
        seen = visit(report, tmp_path)
        assert seen.console == []
        assert seen.asked == []
