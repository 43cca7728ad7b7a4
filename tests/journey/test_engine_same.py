"""The same study, played in many ways, has one ledger."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.journey import engine

from spnas.data.generate import GeneratorSettings, generate
from spnas.runs import RunFolder, files
from spnas.shelf import members

TINY = GeneratorSettings(train=16, val=8, side_px=48, objects=(1, 2), size_px=(14, 30))
WAYS: list[tuple[dict[str, str], dict[str, object]]] = [
    ({}, {}),
    ({"PYTHONHASHSEED": "1"}, {}),
    ({"PYTHONHASHSEED": "4294967295"}, {"executor": "process", "workers": 2}),
    ({"TZ": "Pacific/Kiritimati"}, {}),
    ({"TZ": "America/St_Johns"}, {"executor": "process", "workers": 3}),
    ({"LC_ALL": "C", "PYTHONUTF8": "0"}, {}),
    ({"OMP_NUM_THREADS": "2"}, {"workers": 2}),
    ({"SPNAS_ENGINE_SECONDS": "0.002"}, {"executor": "process", "workers": 4}),
    ({"PYTHONOPTIMIZE": "1"}, {}),
    ({"PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "20"}, {"executor": "process", "workers": 1}),
    ({"HOME": "/nowhere", "XDG_CACHE_HOME": "/nowhere"}, {}),
]


def test_where_and_how_a_study_runs_does_not_show_in_its_ledger(tmp_path: Path) -> None:
    """Executors, numbers of workers, hash seeds, time zones, locales and working directories: one dump, one set of
    weights."""
    whole = engine.play(tmp_path / "whole")
    made = engine.files_in(tmp_path / "whole")
    running = []
    for number, (environment, options) in enumerate(WAYS):
        where = tmp_path / f"way-{number}" / ("deep/" * (number % 3))
        where.mkdir(parents=True)
        relative = number % 2 == 1
        root = Path("study") if relative else where / "study"
        command = engine.command(root, **options)
        running.append((where, subprocess.run(command, cwd=where, env=os.environ | environment, capture_output=True)))
    assert len(WAYS) + 1 >= 12
    for where, done in running:
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode() == whole, where
        assert engine.files_in(where / "study") == made, where


@pytest.mark.skipif("ray" not in members(engine.executors), reason="there is no ray on the shelf of executors")
def test_ray_finds_the_same(tmp_path: Path) -> None:
    """Workers that Ray places."""
    if importlib.util.find_spec("ray") is None:  # not imported, so that spnas still says how it is kept local
        pytest.skip("ray is not installed")
    whole = engine.play(tmp_path / "whole")
    done = subprocess.run(
        engine.command(tmp_path / "ray", executor="ray", workers=2), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == whole
    assert engine.files_in(tmp_path / "ray") == engine.files_in(tmp_path / "whole")


def test_real_training_finds_the_same(tmp_path: Path) -> None:
    """Inline in one process, and in two workers with another hash seed, time zone and working directory."""
    data = tmp_path / "data"
    generate(data, TINY)
    found = set()
    ways = [({}, "inline", 1), ({"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu"}, "process", 2)]
    for number, (environment, executor, workers) in enumerate(ways):
        where = tmp_path / str(number)
        where.mkdir()
        words = ["search", "--data", str(data), "--out", "run", "--executor", executor, "--workers", str(workers)]
        words += ["--candidates", "2", "--copies", "1", "--image-size", "48", "--batch-size", "2", "--steps", "6"]
        words += ["--seeds", "1", "--quiet", "--root", "basic: 8x1 / 16x1 / 32x1 / 64x1"]
        command = [sys.executable, "-c", "from spnas.cli import main; main()", *words]
        done = subprocess.run(command, cwd=where, env=os.environ | environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with RunFolder(where / "run").open_ledger(read_only=True) as ledger:
            weights = [files.sha256(path) for path in sorted((where / "run" / "weights").iterdir())]
            found.add((ledger.dump(), tuple(weights)))
    assert len(found) == 1
