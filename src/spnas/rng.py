"""Randomness as a function: the same key gives the same numbers, whoever asks and in whatever order.

Nothing has to be saved or restored, and the number of workers cannot matter.
"""

import hashlib

import numpy as np


def digest(*key: int | str) -> bytes:
    """Return 16 bytes that depend on every part of `key` and on nothing else."""
    return hashlib.sha256("\x1f".join(f"{type(k).__name__}:{k}" for k in key).encode()).digest()[:16]


def rng(seed: int, purpose: str, candidate: int = 0, epoch: int = 0, index: int = 0) -> np.random.Generator:
    """Return the generator that belongs to this key (Philox, keyed by its hash)."""
    key = np.frombuffer(digest(seed, purpose, candidate, epoch, index), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def torch_seed(seed: int, purpose: str, candidate: int = 0, epoch: int = 0, index: int = 0) -> int:
    """Return a 63-bit seed for `torch.Generator.manual_seed` that belongs to this key."""
    return int.from_bytes(digest(seed, purpose, candidate, epoch, index)[:8], "little") >> 1
