"""A training is killed at random moments, in the middle of epochs; SPNAS_KILLS asks for more than the usual few."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from safetensors.torch import load_file

from spnas.train.log import Line, read_log

KILLS = int(os.environ.get("SPNAS_KILLS", "4"))
STEPS, PICTURES = 25, 24  # batches of 5: an epoch ends inside a batch
# imports once; for every line it reads, it trains in a forked process, kills that after so many seconds if it is told
# so, and says how it ended
NURSERY = """
import os, signal, sys, time, traceback
import torch
from spnas import tasks

torch.set_num_threads(1)
data, workers = sys.argv[1], int(sys.argv[2])
for line in sys.stdin:
    seconds, out = line.split(maxsplit=1)
    child = os.fork()
    if child == 0:
        try:
            tasks.train(
                "basic: 8x1 / 8x1 / 8x1 / 8x1", data=data, out=out.strip(), image_size=64, batch_size=5, steps=%d,
                evaluate_epochs=2, best_by="ar_100", patience=9, checkpoint_seconds=0.0, loader_workers=workers,
            )
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    if float(seconds) >= 0:
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)  # one that has ended waits for us, so that its number is nobody else's
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def untimed(folder: Path) -> tuple[list[Line], list[str]]:
    lines = [msgspec.structs.replace(line, seconds=0.0) for line in read_log(folder)]
    return lines, [row.rpartition(",")[0] for row in (folder / "metrics.csv").read_text().splitlines()]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_that_is_killed_ends_bit_for_bit_as_one_that_is_not(
    tiny_folder: Path, tmp_path: Path, workers: int
) -> None:
    """In its weights, its metrics and its log, of which only the times tell."""
    chance, whole, killed, ended = random.Random(workers), tmp_path / "whole", 0, 0
    command = [sys.executable, "-c", NURSERY % STEPS, str(tiny_folder), str(workers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None

        def train(out: Path, *, kill_after: float = -1.0) -> int:
            print(kill_after, out, file=nursery.stdin, flush=True)
            return int(nursery.stdout.readline())

        assert train(whole) == 0
        began = time.monotonic()
        assert train(whole) == 0  # is done already: what it takes is not training
        idle, spent = time.monotonic() - began, read_log(whole)[-1].seconds
        while killed < KILLS:
            out = tmp_path / f"killed-{ended}"
            while killed < KILLS and (code := train(out, kill_after=chance.random() * (idle + spent / 3))) != 0:
                assert code == -signal.SIGKILL
                killed += 1
            assert train(out) == 0
            ended += 1
            assert untimed(out) == untimed(whole)
            ours, theirs = (load_file(folder / "best" / "model.safetensors") for folder in (out, whole))
            assert all((ours[name] == value).all() for name, value in theirs.items())
            assert (out / "best" / "config.json").read_bytes() == (whole / "best" / "config.json").read_bytes()
        nursery.stdin.close()
