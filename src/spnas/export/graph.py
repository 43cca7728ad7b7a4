"""A detector as an ONNX graph: traced once for a height and a width, for any number of pictures.

Source of the operators: ONNX, opset 18. Suppression becomes NonMaxSuppression, whose list of survivors is written back
into a mask of fixed shape; pooling becomes RoiAlign with half-pixel coordinates.
"""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spnas.errors import IntegrityError
from spnas.export.description import Precision
from spnas.export.fixed import Fixed, suppression_as_operator
from spnas.export.session import INPUTS, OUTPUTS, need

OPSET = 18
MOST_PICTURES = 4096  # of a batch
LEAST = -3.0e38  # a finite score; -inf stands for nothing
LAST_LAYERS = ("objectness", "offsets", "scores", "distances", "centreness")  # int8 leaves their answers alone
Feed = tuple[NDArray[np.float32], NDArray[np.int64]]  # images and sizes, as the graph takes them


def graph_of(detector: nn.Module, size: tuple[int, int], *, precision: Precision = "fp32") -> bytes:
    """Trace a detector for pictures of this height and width; fp16 is inside only, and int8 comes later.

    Raises: UsageError when a package is missing; IntegrityError when the exporter fails.
    """
    need("onnx")
    need("onnxscript")
    fixed = Fixed(detector, dtype=torch.float16 if precision == "fp16" else torch.float32).eval()
    given = (torch.zeros(2, 3, *size), torch.tensor([size, size]))
    count = torch.export.Dim("N", min=1, max=MOST_PICTURES)
    with _silence(), torch.no_grad(), suppression_as_operator():
        try:
            traced = torch.export.export(fixed, given, dynamic_shapes=({0: count}, {0: count}), strict=False)
            program = torch.onnx.export(
                traced,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                custom_translation_table=_translations(),
            )
            assert program is not None
            made: bytes = program.model_proto.SerializeToString()
        except RuntimeError as fault:  # of torch.export, and of the exporter
            reason = " ".join(str(fault).split())[:200]
            raise IntegrityError(f"the detector cannot be written as ONNX ({reason}); please report it") from fault
    return made


def _translations() -> dict[Any, Any]:
    """Say what two operators stand for in ONNX; called with the exporter's own values."""
    op = need("onnxscript").opset18

    def suppress(boxes: Any, scores: Any, threshold: float) -> Any:
        classes = op.Unsqueeze(scores, op.Constant(value_ints=[1]))
        most = op.Shape(scores, start=1, end=2)
        limits = op.Constant(value_floats=[threshold]), op.Constant(value_floats=[LEAST])
        survivors = op.NonMaxSuppression(boxes, classes, most, *limits)
        rows = op.Gather(survivors, op.Constant(value_ints=[0, 2]), axis=1)
        none = op.Expand(op.Constant(value_floats=[0.0]), op.Shape(scores))
        ones = op.Expand(op.Constant(value_floats=[1.0]), op.Shape(rows, start=0, end=1))
        return op.Cast(op.ScatterND(none, rows, ones), to=9)  # to bool

    def sort(x: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        del stable  # equal values stay in order always
        assert dim >= 0
        return op.TopK(x, op.Shape(x, start=dim, end=dim + 1), axis=dim, largest=int(descending), sorted=1)

    return {torch.ops.spnas.suppress.default: suppress, torch.ops.aten.sort.stable: sort}


def in_int8(graph: bytes, pictures: Iterable[Feed]) -> bytes:
    """Return the graph with convolutions and linear layers in 8 bits, ranges of activations measured on pictures.

    What the last layers say, scores and offsets, stays in float32.
    """
    onnx = need("onnx")
    tool = need("onnxruntime.quantization")
    model = onnx.load_from_string(graph)
    last = [node.name for node in model.graph.node if any(_ends_a_head(name) for name in node.input)]
    with tempfile.TemporaryDirectory() as desk, _silence():
        into = Path(desk, "int8.onnx")
        tool.quantize_static(
            model,
            into,
            _Reader(iter(pictures)),
            quant_format=tool.QuantFormat.QDQ,
            per_channel=True,
            activation_type=tool.QuantType.QUInt8,
            weight_type=tool.QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            nodes_to_exclude=last,
            extra_options={"ReduceRange": True},
        )
        return into.read_bytes()


def _ends_a_head(name: str) -> bool:
    return name.rsplit(".", 1)[-1] == "weight" and any(part in LAST_LAYERS for part in name.split("."))


class _Reader:
    """Pictures in the form in which the quantiser asks for them."""

    def __init__(self, pictures: Iterator[Feed]) -> None:
        self.pictures = pictures

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the inputs of the next run, or None at the end."""
        given = next(self.pictures, None)
        return None if given is None else dict(zip(INPUTS, given, strict=True))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """What exporters say to each other is not for users."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(level)
