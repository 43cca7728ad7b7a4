"""Two processes train one detector, as `torchrun` starts them, and get what one process gets."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from torch import distributed

from spnas.errors import UsageError
from spnas.train.log import read_log
from spnas.train.ranks import gathered

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
WORDS = ["train", "basic: 8x1 / 16x1 / 32x1 / 64x1", "--image-size", "64", "--batch-size", "4", "--norm", "frozen"]


def spnas(processes: int, *words: str | Path, timeout: float = 400) -> subprocess.CompletedProcess[str]:
    launch = [*TORCHRUN, "-m", "spnas"] if processes == 2 else ["-m", "spnas"]
    command = [sys.executable, *launch, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def alone(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ddp") / "alone"
    done = spnas(1, *WORDS, "--data", tiny_folder, "--out", out, "--steps", "14", "--threads", "1")
    assert done.returncode == 0, done.stderr
    return out


def apart(a: Path, b: Path) -> float:
    ours, theirs = (load_file(folder / "best" / "model.safetensors") for folder in (a, b))
    return max(float((ours[name].float() - value.float()).abs().max()) for name, value in theirs.items())


def test_two_processes_get_what_one_gets(alone: Path, tiny_folder: Path, tmp_path: Path) -> None:
    """The same pictures, the same draws; rounding alone differs where BN counts no statistics."""
    done = spnas(2, *WORDS, "--data", tiny_folder, "--out", tmp_path / "two", "--steps", "14", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 14  # printed once
    assert apart(tmp_path / "two", alone) < 1e-3
    for ours, theirs in zip(read_log(tmp_path / "two"), read_log(alone), strict=True):
        assert (ours.step, ours.epoch, ours.rate) == (theirs.step, theirs.epoch, theirs.rate)
        assert ours.terms == pytest.approx(theirs.terms, rel=0.02, abs=1e-3)


def test_what_two_processes_began_goes_on_bit_for_bit(tiny_folder: Path, tmp_path: Path) -> None:
    words = [*WORDS, "--data", tiny_folder, "--evaluate-epochs", "1", "--best-by", "ar_100", "--accumulate", "2"]
    words += ["--steps", "14", "--checkpoint-seconds", "0"]
    assert spnas(2, *words, "--out", tmp_path / "whole").returncode == 0
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, signal\n"
        "from spnas.train import loop\n"
        "save = loop._save\n"
        "def and_die(state, checkpoint, step, key, log):\n"
        "    save(state, checkpoint, step, key, log)\n"
        "    if step == 8:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "loop._save = and_die\n"
        "from spnas.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, *TORCHRUN, script, *map(str, words), "--out", str(tmp_path / "killed")]
    cut = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert cut.returncode != 0
    assert read_log(tmp_path / "killed")[-1].step < 14
    done = spnas(2, *words, "--out", tmp_path / "killed")
    assert done.returncode == 0, done.stderr
    assert apart(tmp_path / "killed", tmp_path / "whole") == 0
    logs = [read_log(tmp_path / name) for name in ("killed", "whole")]
    ours, theirs = ([msgspec.structs.replace(line, seconds=0.0) for line in log] for log in logs)
    assert ours == theirs


RANK = r"""
import os, sys
from pathlib import Path
import torch
from torch import distributed
from spnas.data.batches import Pictures, Resize, train_batch
from spnas.data.open import open_data
from spnas.nets.settings import PRESETS
from spnas.train.loop import TrainKey, train
from spnas.train.ranks import gathered
from spnas.train.settings import TrainSettings
from spnas.train.weights import ModelConfig, build

torch.set_num_threads(1)
known = open_data(Path(sys.argv[1])).train
config = ModelConfig(detector="faster_rcnn", arch="basic: 8x1 / 16x1 / 32x1 / 64x1 + 0-1-0-1", classes=known.classes,
                     category_ids=known.category_ids, settings=PRESETS["small"], resize=Resize(None, 64))
pictures = Pictures(known, config.resize)
with gathered("cpu") as ranks:
    detector = build(config, seed=ranks.rank)
    settings = TrainSettings(batch_size=4)
    train(detector, lambda step: train_batch(pictures, batch_size=4, step=step, seed=0, part=(ranks.rank, 2)),
          settings, steps=3, key=TrainKey(0, 0), ranks=ranks)
    mine = torch.cat([value.double().flatten() for value in detector.state_dict().values()])
    theirs = mine.clone()
    distributed.broadcast(theirs, 0)
    os.write(1, b"equal\n" if torch.equal(mine, theirs) else b"apart\n")  # at once: two write into one pipe
"""


def test_all_processes_end_with_the_same_weights_and_statistics(tiny_folder: Path, tmp_path: Path) -> None:
    """With a net that has copies, and BN that counts: what it counted in the first process is what all have."""
    (tmp_path / "rank.py").write_text(RANK)
    done = subprocess.run(
        [sys.executable, *TORCHRUN, str(tmp_path / "rank.py"), str(tiny_folder)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["equal", "equal"]


def test_what_cannot_be_is_said_once_and_ends_all_of_them(tiny_folder: Path, tmp_path: Path) -> None:
    done = spnas(2, *WORDS, "--batch-size", "3", "--data", tiny_folder, "--out", tmp_path / "x", timeout=400)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("spnas: error")]
    assert sum("--batch-size 3 cannot be taken in 1 parts by each of 2 processes" in line for line in said) == 1
    assert not (tmp_path / "x" / "study.json").exists()


@pytest.mark.parametrize("words", ["Connection closed by peer [127.0.0.1]:4", "Read error: Connection reset by peer"])
def test_a_process_that_is_left_alone_says_so(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(distributed, name, lambda *_, **__: None)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    with pytest.raises(UsageError, match="another process gave up; its own message says why"), gathered("cpu"):
        raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="of our own"), gathered("cpu"):
        raise RuntimeError("of our own")


def test_the_rows_of_the_processes_are_those_of_the_whole() -> None:
    from spnas.train.ranks import Rows

    whole = torch.rand((6, 5), generator=torch.Generator().manual_seed(3))
    for first, last in ((0, 2), (2, 6)):
        rng = torch.Generator().manual_seed(3)
        with Rows(rng, first, last, count=6):
            assert torch.equal(torch.rand((last - first, 5), generator=rng), whole[first:last])
            assert torch.rand((2, 2)).shape == (2, 2)  # others draw as ever
