"""Files that describe themselves, whole ones and others."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tests.export.conftest import SIZE

from spnas.errors import IntegrityError, UsageError
from spnas.export import session as room
from spnas.export.description import Description, read_sealed, seal, unseal
from spnas.export.session import INPUTS, OUTPUTS, open_onnx


def graph(*, height: int = SIZE[0], outputs: tuple[str, ...] = tuple(OUTPUTS)) -> bytes:
    """A model with the inputs and outputs of a detector, which finds one box as large as the picture."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, height, SIZE[1]])
    sizes = helper.make_tensor_value_info("sizes", TensorProto.INT64, ["N", 2])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("ReduceMax", ["flat", "axes"], ["scores"], keepdims=1),
        helper.make_node("Unsqueeze", ["sizes", "one"], ["pairs"]),
        helper.make_node("Concat", ["pairs", "pairs"], ["whole"], axis=2),
        helper.make_node("Cast", ["whole"], ["boxes"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["flat"], ["labels"], axis=1, keepdims=1),
    ]
    kinds = {"boxes": (TensorProto.FLOAT, ["N", 1, 4]), "scores": (TensorProto.FLOAT, ["N", 1])}
    made = [helper.make_tensor_value_info(o, *kinds.get(o, (TensorProto.INT64, ["N", 1]))) for o in outputs]
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    body = helper.make_graph(nodes, "detector", [images, sizes], made, [axes, one])
    return bytes(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString())


@pytest.fixture
def file(description: Description, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(seal(graph(), description))
    return path


def test_a_file_says_what_it_is(file: Path, description: Description) -> None:
    """To us, and to every reader of ONNX, in the model's metadata."""
    _, read = read_sealed(file)
    stamped = msgspec.structs.replace(description, graph_bytes=len(graph()), graph_sha256=read.graph_sha256)
    assert read == stamped
    (entry,) = onnx.load(file).metadata_props
    assert entry.key == "spnas"
    assert msgspec.json.decode(entry.value, type=Description) == stamped


def test_a_description_may_be_of_any_length(description: Description) -> None:
    """Of 15,744 to 15,871 bytes, a byte of the length that stands before it is that of a brace."""
    for count in (0, *range(15_000, 15_900, 100), 3_000_000):
        longer = msgspec.structs.replace(description, producer="x" * count)
        assert unseal(seal(b"graph", longer), name="model.onnx").producer == longer.producer


def test_smaller_pictures_are_padded(file: Path) -> None:
    """To the size that the graph takes; the boxes are those of the sizes given."""
    found = open_onnx(file)(np.full((2, 3, 32, 64), -1, np.float32), np.array([[30, 60], [32, 64]]))
    assert found.boxes.tolist() == [[[30, 60, 30, 60]], [[32, 64, 32, 64]]]
    assert found.scores.tolist() == [[0], [0]]  # of the padding
    with pytest.raises(UsageError, match="takes pictures of at most 96 x 64 px, not 96 x 96"):
        open_onnx(file)(np.zeros((1, 3, 96, 96), np.float32), np.array([[96, 96]]))


@pytest.mark.parametrize(
    ("short", "size", "wanted"),
    [
        (None, (640, 480), (85, 64)),  # as in training it would be 96 x 72, which does not fit
        (None, (960, 480), (96, 48)),
        (50, (640, 480), (67, 50)),
        (None, (10, 1000), (1, 64)),
        (None, (100000, 1), (96, 1)),
    ],
)
def test_every_picture_is_made_to_fit(
    description: Description, short: int | None, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    """By the rule of training, and by the input's own size."""
    assert msgspec.structs.replace(description, short=short).target(*size) == wanted


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_no_picture_is_larger_than_the_input(width: int, height: int) -> None:
    """Whatever its shape."""
    sizing = {"short": 60, "long": 96, "height": SIZE[0], "width": SIZE[1]}
    other = {"producer": "", "detector": "", "arch": "", "classes": [], "category_ids": [], "mean": [0, 0, 0]}
    numbers = {"std": [1, 1, 1], "score_threshold": 0, "nms_threshold": 0, "most_detections": 1}
    wide, high = msgspec.convert(sizing | other | numbers, Description).target(width, height)
    assert 1 <= wide <= SIZE[1]
    assert 1 <= high <= SIZE[0]


def changed(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
def test_a_flipped_bit_is_found(file: Path, share: float) -> None:
    """Wherever it is, before the graph is run."""
    data = file.read_bytes()
    file.write_bytes(changed(data, int(share * len(data))))
    with pytest.raises((IntegrityError, UsageError), match=r"model\.onnx: "):
        open_onnx(file)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ONNX file of ours"),
        (b"\x00" * 100, "not an ONNX file of ours"),
        (graph(), "not an ONNX file of ours"),
        (b"\x0a\x05spnas\x12\x02{}", "its description cannot be read"),
        (b'\x0a\x05spnas\x12\x0e{"schema": 1e99', "its description cannot be read"),
        (b"\x0a\x05spnas\x12" + b"[" * 10_000, "its description cannot be read"),
        (b'\x0a\x05spnas\x12\x12{"producer": "\xff"}', "its description cannot be read"),
    ],
)
def test_what_is_not_ours_is_told_in_one_line(data: bytes, message: str, tmp_path: Path) -> None:
    """Nothing of it is run."""
    path = tmp_path / "other.onnx"
    path.write_bytes(data)
    with pytest.raises((IntegrityError, UsageError), match=f"^.*other.onnx: {message}[^\n]*$"):
        open_onnx(path)


def test_a_file_cut_short_or_gone_on_with_is_refused(file: Path) -> None:
    """The seal covers all of it."""
    data = file.read_bytes()
    for other in (data[:-1], data + b" ", data[10:]):
        file.write_bytes(other)
        with pytest.raises(IntegrityError):
            open_onnx(file)
    file.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        open_onnx(file)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no graph", "onnxruntime does not load it"),
        (graph(height=32), "inputs and outputs are not those of a detector of ours"),
        (graph(outputs=("boxes", "scores")), "inputs and outputs are not those of a detector of ours"),
    ],
)
def test_a_sealed_file_may_still_be_no_detector(
    body: bytes, message: str, description: Description, tmp_path: Path
) -> None:
    """A forged seal opens nothing but onnxruntime's own doors."""
    path = tmp_path / "forged.onnx"
    path.write_bytes(seal(body, description))
    with pytest.raises(IntegrityError, match=message):
        open_onnx(path)


def test_files_of_the_future_are_left_alone(description: Description, tmp_path: Path) -> None:
    """With the schema named."""
    path = tmp_path / "new.onnx"
    path.write_bytes(seal(graph(), msgspec.structs.replace(description, schema=2)))
    with pytest.raises(UsageError, match="written by a newer spnas"):
        open_onnx(path)


def test_a_missing_package_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what installs it."""

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(room.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"pip install 'spnas\[onnx\]'"):
        open_onnx(file)


def test_a_graph_that_fails_says_so(file: Path) -> None:
    """Inputs that it cannot take."""
    with pytest.raises(IntegrityError, match="the graph fails"):
        open_onnx(file)(np.zeros((1, 2, *SIZE), np.float32), np.array([[1, 1]]))


def test_inputs_and_outputs_have_names() -> None:
    """Which others use as well."""
    assert (list(INPUTS), list(OUTPUTS)) == (["images", "sizes"], ["boxes", "scores", "labels"])
