"""Detectors as ONNX graphs: run in onnxruntime, they find what the detectors find."""

from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tests.export.conftest import ARCHS, SIZE, lively, pictures

from spnas.export.description import Description, seal
from spnas.export.fixed import Fixed, pool_at_once, suppression_as_operator
from spnas.export.gate import Drift, ask_again, drift, torch_look
from spnas.export.graph import graph_of, in_int8
from spnas.export.session import OnnxNetwork, open_bytes
from spnas.nets import boxes as bx
from spnas.nets.roi import pool_regions
from spnas.nets.settings import PRESETS


@lru_cache
def graph_for(kind: str) -> tuple[Any, bytes]:
    """A detector of 4 stages with copies, of 5 or of 6, and its graph, made once."""
    net = lively(kind)
    return net, graph_of(net, SIZE)


@pytest.fixture(params=ARCHS)
def made(request: pytest.FixtureRequest) -> tuple[Any, bytes]:
    return graph_for(request.param)


def opened(graph: bytes, description: Description) -> OnnxNetwork:
    return open_bytes(seal(graph, description), description, name="test.onnx", threads=1)


def drift_of(net: Any, graph: OnnxNetwork, count: int) -> Drift:
    feed = pictures(count)
    again = ask_again(net)
    return drift(feed, torch_look(net)(*feed), graph(*feed), again=again, threshold=net.settings.score_threshold)


def test_a_graph_finds_what_its_detector_finds(made: tuple[Any, bytes], description: Description) -> None:
    """In one picture and in three; and it is a valid model of a stable set of operators."""
    net, graph = made
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    network = opened(graph, description)
    for count in (1, 3):
        found = drift_of(net, network, count)
        assert (found.lost, found.extra) == (0, 0), str(found)
        assert found.matched > 20 * count


def test_a_changed_weight_is_found(made: tuple[Any, bytes], description: Description) -> None:
    """The first convolution, weaker by a hundredth."""
    net, graph = made
    found = drift_of(net, opened(spoiled(graph), description), 3)
    assert found.lost > 0
    assert found.extra > 0


def spoiled(graph: bytes) -> bytes:
    """The graph with its first convolution's weights weaker by a hundredth."""
    model = onnx.load_from_string(graph)
    first = next(node for node in model.graph.node if node.op_type == "Conv").input[1]
    weight = next(w for w in model.graph.initializer if w.name == first)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(0.99), first))
    return bytes(model.SerializeToString())


def test_eight_bits_are_in_the_graph_and_find_most(description: Description) -> None:
    """The last layers stay as they are, the others have whole numbers."""
    net, graph = graph_for("faster_rcnn")
    small = in_int8(graph, [pictures(1, seed=seed) for seed in range(4)])
    assert len(small) < 0.6 * len(graph)
    kinds = {w.name: w.data_type for w in onnx.load_from_string(small).graph.initializer}
    assert kinds["detector.head.of.offsets.weight"] == onnx.TensorProto.FLOAT
    assert kinds["detector.head.of.hidden1.weight_quantized"] == onnx.TensorProto.INT8
    ours, theirs = torch_look(net)(*pictures(2)), opened(small, description)(*pictures(2))
    assert abs(int((ours.labels >= 0).sum()) - int((theirs.labels >= 0).sum())) < 0.3 * (ours.labels >= 0).sum()


@torch.no_grad()
def test_the_fixed_detector_is_the_detector() -> None:
    """Also without an exporter, within rounding; and what it puts in its place is back afterwards."""
    before = bx.suppress
    net = lively("cascade_rcnn")
    images, sizes = (torch.from_numpy(x) for x in pictures(3))
    with suppression_as_operator():
        assert bx.suppress is not before
        boxes, scores, labels = Fixed(net)(images, sizes)
    assert bx.suppress is before
    wanted = net.detect(images, sizes)
    assert torch.equal(labels, wanted.labels)
    torch.testing.assert_close(scores, wanted.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(boxes, wanted.boxes, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("ratio", [1, 2])
def test_pooling_at_once_is_pooling(ratio: int) -> None:
    """Of regions of all sizes, many at the borders of the picture, one empty."""
    rng = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, 4, 64 // s, 96 // s, generator=rng) for s in (4, 8, 16)]
    corner = torch.rand(2, 40, 2, generator=rng) * 120 - 20
    boxes = torch.cat((corner, corner + torch.rand(2, 40, 2, generator=rng) ** 3 * 90), -1)
    boxes = bx.clip(boxes, torch.tensor([[64, 96], [60, 90]]))
    boxes[0, 0] = 0
    settings = msgspec.structs.replace(PRESETS["small"], roi_sampling_ratio=ratio)
    wanted = pool_regions(levels, (4, 8, 16), boxes, settings)
    torch.testing.assert_close(pool_at_once(levels, (4, 8, 16), boxes, settings), wanted, rtol=1e-4, atol=1e-5)
