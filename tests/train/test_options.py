"""What a user says: on the command line, in a file, in code; each mistake gets one line with its place."""

from pathlib import Path

import msgspec
import pytest

from spnas.errors import UsageError
from spnas.train.options import OPTIONS, TrainOptions, options_of
from spnas.train.options_file import read_options

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.yaml"
    path.write_text(text)
    return path


def test_numbers_and_lists_may_be_written_as_text() -> None:
    options = options_of({"batch_size": "auto", "sides": "640, 800", "rate": "2e-3", "from": "x", "augment": False})
    assert (options.batch_size, options.sides, options.rate, options.start) == ("auto", (640, 800), 0.002, "x")
    assert options.augment is False
    assert options_of({"batch_size": "8"}).batch_size == options_of({"batch_size": 8}).batch_size == 8
    assert options_of({}) == TrainOptions()


def test_every_option_says_what_it_is_and_can_be_left_out() -> None:
    assert all(option.meta.description for option in OPTIONS.values())
    assert len(OPTIONS) == len(msgspec.structs.fields(TrainOptions))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"steps": 0}, "--steps 0: expected `int` >= 1"),
        ({"steps": "many"}, "--steps 'many': expected `int`"),
        ({"rate": float("nan")}, "--rate nan"),
        ({"rate": float("inf")}, "--rate inf: expected a finite number"),
        ({"clip": "inf"}, "--clip 'inf': expected a finite number"),
        ({"weight_decay": float("inf")}, "--weight-decay inf: expected a finite number"),
        ({"hours": float("inf")}, "--hours inf: expected `float` <= 1000000.0"),
        ({"drops": "0.5,inf"}, "--drops '0.5,inf': expected a finite number"),
        ({"batch_size": 0}, "--batch-size 0: expected `int` >= 1"),
        ({"batch_size": "-4"}, "--batch-size '-4': expected `int` >= 1"),
        ({"rate": -1}, "--rate -1: expected `float` > 0"),
        ({"batch_size": "all"}, "--batch-size 'all'"),
        ({"norm": "group"}, "--norm 'group': known: batch, frozen, sync"),
        ({"layer_decay": 1.5}, "--layer-decay 1.5: expected `float` <= 1"),
        ({"sides": "640,x"}, "--sides"),
        ({"batchsize": 4}, "no option 'batchsize'; did you mean 'batch_size'"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(given: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        options_of(given)


def test_a_file_is_flat_and_the_command_line_goes_before_it(tmp_path: Path) -> None:
    path = written(tmp_path, "# a comment\nrate: 1e-2\nsides: [640, 800]\nnorm: frozen\nfrom: net.pth\nsteps: null\n")
    values, places = read_options(path)
    assert places["norm"] == f"{path}:4: norm"
    options = options_of(values | {"norm": "batch"}, source=places)
    assert (options.rate, options.sides, options.norm, options.start) == (0.01, (640, 800), "batch", "net.pth")
    assert options.steps is None
    assert read_options(written(tmp_path, "# nothing\n")) == ({}, {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rate: 0.1\nbatch-size: 4\n", r"some\.yaml:2: there is no option 'batch-size'; did you mean 'batch_size'"),
        ("rate: 0.1\nrate: 0.2\n", r"some\.yaml:2: rate is set again, after .*some\.yaml:1"),
        ("rate:\n  peak: 0.1\n", r"some\.yaml:1: rate should have a plain value"),
        ("sides: [[1]]\n", r"some\.yaml:1: sides should have a plain value"),
        ("- rate\n", "should be lines of 'option: value'"),
        ("rate\n", "should be lines of 'option: value'"),
        ("rate: [0.1\nx: }", r"some\.yaml:\d: is not YAML"),
        ("rate: !!python/object/apply:os.getcwd []\n", r"some\.yaml:1: rate has no plain value"),
        ("? [a]\n: 1\n", r"some\.yaml:1: there is no option"),
        ("rate: 0.1\n---\nrate: 0.2\n", r"some\.yaml:2: is not YAML"),
    ],
)
def test_a_file_that_cannot_be_meant_is_named_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        read_options(written(tmp_path, text))


def test_a_value_from_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    values, places = read_options(written(tmp_path, "rate: 0.1\nsteps: 0\n"))
    with pytest.raises(UsageError, match=r"some\.yaml:2: steps 0: expected `int` >= 1"):
        options_of(values, source=places)
    with pytest.raises(UsageError, match=r"--config .*nothing: cannot be read"):
        read_options(tmp_path / "nothing")


def test_there_are_files_for_what_the_paper_trains_on() -> None:
    assert {path.stem for path in CONFIGS} >= {"coco", "voc", "bdd", "ecp"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_file_there_is_can_be_used_and_says_how(path: Path) -> None:
    values, places = read_options(path)
    assert values
    options_of(values, source=places)
    head = path.read_text().splitlines()[:12]
    assert any(line.startswith("# spnas train ") and f"--config configs/{path.name}" in line for line in head)
    assert any(line.startswith("# Time: ") for line in head)
    assert any(line.startswith("# Result: ") for line in head)
