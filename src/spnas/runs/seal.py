"""A safetensors file that carries its own SHA-256, for files that no record speaks of, such as checkpoints.

The hash stands in the file's metadata and is that of all else in the file: of its header, in a canonical form and
without the hash, and of the tensors' bytes.
"""

import hashlib
import json
from typing import Any

FIELD = "sha256"
_BEFORE_SEALS = {"progress"}  # the metadata of a checkpoint that has no hash yet: it is taken as it is
_METADATA = "__metadata__"
_ALIGNMENT = 8


def seal(data: bytes) -> bytes:
    """Return a whole safetensors file with its hash in it."""
    header, tensors = _parts(data)
    header.setdefault(_METADATA, {})[FIELD] = _hash(header, tensors)
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % _ALIGNMENT)
    return len(written).to_bytes(8, "little") + written + tensors


def why_broken(data: bytes) -> str | None:
    """Say why a sealed file is not what was written, None when it is."""
    try:
        header, tensors = _parts(data)
        metadata = header[_METADATA]
        sealed = metadata.get(FIELD)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "its header cannot be read"
    if sealed is None and metadata.keys() == _BEFORE_SEALS:
        return None
    return None if sealed == _hash(header, tensors) else "it is not what its SHA-256 says"


def _parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Split a file into its header and its tensors. Raises: ValueError when it is none."""
    size = int.from_bytes(data[:8], "little")
    if not 0 < size <= len(data) - 8:
        raise ValueError("the header is longer than the file")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def _hash(header: dict[str, Any], tensors: bytes) -> str:
    metadata = {k: v for k, v in header.get(_METADATA, {}).items() if k != FIELD}
    whole = json.dumps({**header, _METADATA: metadata}, sort_keys=True).encode()
    return hashlib.sha256(whole + b"\n" + tensors).hexdigest()
