"""A writer is killed at random moments; SPNAS_KILLS asks for more of them than the usual few."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from spnas.runs import RunFolder
from spnas.runs.damage import damage_in

KILLS = int(os.environ.get("SPNAS_KILLS", "15"))
WRITER = """
import sys
from spnas.arch import Candidate, Outcome, parse
from spnas.runs import RunFolder

folder = RunFolder(sys.argv[1])
with folder.lock():
    with folder.open_ledger() as ledger:
        folder.begin(b'{"seed": 1}')
        arch = parse("basic: 64x2 / 128x2 / 256x2 / 512x2")
        number = len(ledger.candidates())
        done = ledger.outcomes()
        for unfinished in range(number):
            if unfinished not in done:
                ledger.record(Outcome(number=unfinished, metrics={"ap": 0.5}))
                print("outcome", unfinished, flush=True)
        while True:
            ledger.propose(Candidate(number=number, role="root", arch=arch, steps=1, seed=number))
            print("candidate", number, flush=True)
            ledger.record(Outcome(number=number, metrics={"ap": number / 1000, "x" * 3000: 0.0}))
            print("outcome", number, flush=True)
            ledger.add_elapsed(0.5)
            number += 1
"""


def test_no_acknowledged_record_is_lost_and_no_half_one_is_found(tmp_path: Path) -> None:
    """After every kill -9 the next writer takes the lock, and each record whose write returned is there."""
    chance, acknowledged = random.Random(11), {"candidate": set(), "outcome": set()}
    root = tmp_path / "study"
    for kill in range(KILLS):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process, process.stdout:
            first = process.stdout.readline()
            assert first, f"the writer after kill {kill} ended by itself"
            time.sleep(chance.random() * 0.06)
            process.kill()
            for line in (first + process.stdout.read()).splitlines(keepends=True):
                if line.endswith("\n"):
                    kind, number = line.split()
                    acknowledged[kind].add(int(number))
        folder = RunFolder(root)
        with folder.open_ledger(read_only=True) as ledger:
            candidates = [candidate.number for candidate in ledger.candidates()]
            assert candidates == list(range(len(candidates)))
            assert acknowledged["candidate"] <= set(candidates)
            assert acknowledged["outcome"] <= set(ledger.outcomes()) <= set(candidates)
            assert len(candidates) - len(ledger.outcomes()) <= 1
            assert len(ledger.outcomes()) / 2 - ledger.elapsed_seconds() <= kill + 1
        assert damage_in(folder) == []
    assert acknowledged["outcome"]
