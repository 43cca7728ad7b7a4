"""docs/backbones.md does what it says: every block of it is run, top to bottom."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from spnas.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@torch.no_grad()
def test_every_block_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands and Python in the order of the page, names carried over, in an empty folder."""
    assert {language for language, _ in BLOCKS} == {"sh", "python", "py"}
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, str(PAGE), "exec"), names)
        elif language == "sh":
            for line in block.strip().splitlines():
                app(shlex.split(line)[1:], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "[128, 256, 512] [8, 16, 32]" in printed
    assert "outputs are bit-equal to ours" in printed
    assert "spnet_coco_xb_parallel" in printed
