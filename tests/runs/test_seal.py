"""A file that carries its own SHA-256."""

import json
import random

from spnas.runs.seal import seal, why_broken


def plain(metadata: dict[str, str]) -> bytes:
    """A safetensors file of two tensors, as the library writes it."""
    header = {
        "__metadata__": metadata,
        "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        "b": {"dtype": "U8", "shape": [8], "data_offsets": [16, 24]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(range(24))


def test_a_seal_changes_no_tensor_and_a_file_without_one_is_taken_as_it_is() -> None:
    """Files of before there were seals are read; what never was one is not."""
    whole = seal(plain({"progress": "{}"}))
    assert whole.endswith(bytes(range(24)))
    size = int.from_bytes(whole[:8], "little")
    assert size % 8 == 0
    header, before = json.loads(whole[8 : 8 + size]), plain({"progress": "{}"})
    assert header["__metadata__"].keys() == {"progress", "sha256"}
    assert {**header, "__metadata__": {"progress": "{}"}} == json.loads(before[8:-24])
    assert why_broken(whole) is None
    assert why_broken(before) is None
    assert why_broken(plain({})) == "it is not what its SHA-256 says"
    for other in (b"", b"\0" * 8, b"PK\3\4" * 10, (2).to_bytes(8, "little") + b"[]", (2).to_bytes(8, "little") + b"{}"):
        assert why_broken(other) == "its header cannot be read"


def test_every_flipped_bit_and_every_cut_is_found() -> None:
    """In the header, in the names, in the hash and in the tensors."""
    whole = seal(plain({"progress": '{"step": 5}'}))
    for at in range(8 * len(whole)):
        data = bytearray(whole)
        data[at // 8] ^= 1 << at % 8
        assert why_broken(bytes(data)), f"bit {at}"
    chance = random.Random(1)
    for size in [*range(12), *(chance.randrange(len(whole)) for _ in range(50))]:
        assert why_broken(whole[:size])
    assert why_broken(whole + b"\0")
