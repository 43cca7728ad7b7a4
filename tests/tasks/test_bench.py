"""`spnas bench`: every combination is measured, and every column has a number."""

import math
from itertools import product

import msgspec
import pytest

from spnas.arch.published import arch_of
from spnas.errors import UsageError
from spnas.nets.memory import activation_mib
from spnas.tasks import bench
from spnas.tasks.bench import BenchResult, describe

SMALL, WIDER = "basic: 8x1 / 16x1", "basic: 8x1 / 24x1"


def run(**given: object) -> BenchResult:
    """Measure as little as can be measured."""
    return bench(**{"image_size": ["64"], "seconds": 0.01, "memory": False, "recipe": "small", **given})  # type: ignore[arg-type]


def test_every_combination_is_measured_from_files_to_boxes_and_in_training() -> None:
    """Two nets, two precisions, both kinds of work; all numbers are finite, and quartiles rise."""
    result = run(arch=[SMALL, WIDER], precision=["fp32", "bf16"])
    found = {(m.case.arch, m.case.precision, m.case.what) for m in result.measured}
    assert found == set(product((SMALL, WIDER), ("fp32", "bf16"), ("inference", "training")))
    for m in result.measured:
        assert 0 < m.rate.low <= m.rate.median <= m.rate.high < math.inf
        assert 0 < m.p50_ms <= m.p95_ms < math.inf
        assert m.repeats >= 5
        assert m.working > 0
        assert m.case.size == (64, 64)
    lines = describe(result)
    assert "from files to boxes" in lines[0]
    assert all(column in lines[1] for column in ("input", "batch", "quartiles", "p50 ms", "p95 ms", "MiB"))
    assert len([line for line in lines if "64x64" in line]) == 8
    assert msgspec.json.decode(msgspec.json.encode(result), type=BenchResult) == result


def test_both_sides_of_an_input_can_be_given() -> None:
    """Generated pictures have its shape; heights and widths of a batch are multiples of 32."""
    (one,) = run(arch=[SMALL], image_size=["50x90"], what="inference", network_only=True, batch_size=3).measured
    assert one.case.size == (64, 96)
    assert one.case.batch_size == 3
    assert one.p50_ms * one.rate.median == pytest.approx(3000, rel=1e-6)  # all of five passes have one median


def test_memory_is_that_of_a_process_of_its_own() -> None:
    """A step keeps what the backward pass of the backbone needs, for two pictures, and more than that."""
    arch = "basic: 32x2 / 64x2"
    (one,) = run(arch=[arch], image_size=["256"], network_only=True, memory=True, what="training").measured
    kept = 2 * activation_mib(arch_of(arch), 256, 256)
    assert one.peak_mib is not None
    assert kept < one.peak_mib < 20 * kept


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"arch": ["resnet5O"]}, "did you mean 'resnet50'"),
        ({"detector": ["faster_rcn"]}, "did you mean 'faster_rcnn'"),
        ({"detector": []}, "--detector: name at least one"),
        ({"precision": ()}, "--precision: name at least one"),
        ({"precision": ["fp8"]}, "'fp8' cannot be measured; known: fp32, bf16"),
        ({"what": "inferense"}, "did you mean 'inference'"),
        ({"recipe": "smal"}, "did you mean 'small'"),
        ({"device": "gpu"}, "'gpu' cannot be measured"),
        ({"image_size": ["8"]}, "--image-size 8: give the longer side"),
        ({"image_size": ["800x"]}, "--image-size 800x: give the longer side"),
        ({"batch_size": 0}, "--batch-size 0: give at least 1"),
        (
            {"batch_size": 1, "image_size": ["32"], "what": "training", "arch": ["basic: 8x1 / 8x1 / 8x1 / 8x1"]},
            "--batch-size 1: one picture of 32 px ends as one pixel after 4 stages",
        ),
        ({"seconds": math.nan}, "--seconds nan: give more than 0"),
        ({"paper": True, "arch": [SMALL]}, "--paper has rows of its own"),
        ({"paper": True, "image_size": ["64", "96"]}, "--paper has one table"),
    ],
)
def test_what_there_is_not_gets_one_line(given: dict[str, object], words: str) -> None:
    """With what was given, and what to do."""
    with pytest.raises(UsageError, match=words) as fault:
        run(**given)
    assert "\n" not in str(fault.value)
