"""A short run of the fuzzer: every mutation of every reader's file is used or refused, and nothing else happens."""

import random
from pathlib import Path

import pytest

from .fuzz_readers import READERS, check, mutate

RUNS = 250


@pytest.mark.parametrize("reader", READERS)
def test_a_mutated_file_is_used_or_refused(reader: str, tmp_path: Path) -> None:
    fuzzed = READERS[reader](tmp_path)
    assert check(fuzzed, fuzzed.good)
    rng = random.Random(0)
    used = [check(fuzzed, mutate(fuzzed.good, rng)) for _ in range(RUNS)]
    assert 0 < sum(used) < RUNS  # damage of both kinds was met
