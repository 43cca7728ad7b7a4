"""An ONNX file of ours at work, in onnxruntime; torch is not needed.

network = open_onnx(Path("model.onnx"))
boxes, scores, labels = network(images, sizes)
"""

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spnas.errors import IntegrityError, UsageError, escape
from spnas.export.description import Description, read_sealed

INPUTS = {"images": "tensor(float)", "sizes": "tensor(int64)"}
OUTPUTS = {"boxes": "tensor(float)", "scores": "tensor(float)", "labels": "tensor(int64)"}


class Rows(NamedTuple):
    """What was found in N pictures, D rows each: boxes (N, D, 4) xyxy in input pixels, scores (N, D), labels (N, D)
    with -1 in rows that hold nothing."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


class OnnxNetwork:
    """A session of onnxruntime, and what its file says about itself."""

    def __init__(self, session: Any, description: Description, *, name: str) -> None:
        self.session, self.description, self.name = session, description, name

    def __call__(self, images: NDArray[np.float32], sizes: NDArray[np.int64]) -> Rows:
        """Find objects in images (N, 3, h, w), normalised, of at most the input's height and width, zero where there is
        no picture; sizes (N, 2) are height and width without padding.

        Raises: UsageError for larger images; IntegrityError when the graph fails.
        """
        wanted = self.description.height, self.description.width
        height, width = images.shape[2:]
        if height > wanted[0] or width > wanted[1]:
            raise UsageError(
                f"{self.name}: takes pictures of at most {wanted[1]} x {wanted[0]} px, not {width} x {height}; resize "
                "them first"
            )
        if (height, width) != wanted:
            images = np.pad(images, ((0, 0), (0, 0), (0, wanted[0] - height), (0, wanted[1] - width)))
        given = {"images": np.ascontiguousarray(images), "sizes": np.asarray(sizes, np.int64)}
        try:
            return Rows(*self.session.run(list(OUTPUTS), given))
        except Exception as fault:  # onnxruntime's errors have no class of their own to name
            raise IntegrityError(f"{self.name}: the graph fails ({_reason(fault)}); export it again") from None


def open_onnx(path: Path, *, threads: int = 0) -> OnnxNetwork:
    """Load an exported file; it is run only if it is as it was written.

    threads: of one operator; 0 for onnxruntime's default.

    Raises: UsageError when the file is not ours, or onnxruntime is missing; IntegrityError when it is damaged.
    """
    data, description = read_sealed(path)
    return open_bytes(data, description, name=str(path), threads=threads)


def open_bytes(data: bytes, description: Description, *, name: str, threads: int = 0) -> OnnxNetwork:
    """Load what is in memory already. Raises: as `open_onnx`."""
    runtime = need("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as fault:
        raise IntegrityError(f"{name}: onnxruntime does not load it ({_reason(fault)}); export it again") from None
    got = {v.name: v.type for v in session.get_inputs()}, {v.name: v.type for v in session.get_outputs()}
    if got != (INPUTS, OUTPUTS) or session.get_inputs()[0].shape[1:] != [3, description.height, description.width]:
        raise IntegrityError(f"{name}: its inputs and outputs are not those of a detector of ours; export it again")
    return OnnxNetwork(session, description, name=name)


def need(package: str) -> Any:
    """Import a package of the extra `onnx`. Raises: UsageError when it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UsageError(f"{package} is needed for ONNX, and is not here: pip install 'spnas[onnx]'") from None


def _reason(fault: Exception) -> str:
    return escape(" ".join(str(fault).split())[:200]) or type(fault).__name__
