"""What `spnas bench` makes of timings, and the pictures it draws."""

from pathlib import Path

import numpy as np
import pytest

from spnas.bench import Case, Measured, Quartiles
from spnas.bench.measure import Pass, summed_up
from spnas.bench.paper import DETECTORS, ROWS, paper_rows
from spnas.bench.pictures import write_pictures
from spnas.tasks.bench import BenchResult, describe

FPS = {
    (detector, arch): 2.0 * (i + 1) / (j + 1)
    for i, detector in enumerate(DETECTORS.values())
    for j, (arch, _) in enumerate(ROWS)
}


def case(arch: str, detector: str = "faster_rcnn", size: tuple[int, int] = (800, 1344)) -> Case:
    """Return a case of which only names and size matter."""
    return Case(
        arch=arch,
        detector=detector,
        preset="standard",
        size=size,
        precision="fp32",
        device="cpu",
        what="inference",
        batch_size=2,
    )


def test_ratios_are_to_resnet101_with_the_same_detector() -> None:
    """The paper's from its printed fps, ours from the given ones: 1, 1/2, 1/3, 1/4 with both detectors."""
    rows = paper_rows(FPS)
    assert [(r.detector, r.arch) for r in rows] == [(d, a) for d in ("fpn", "cascade") for a, _ in ROWS]
    assert [r.ratio for r in rows] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4] * 2)
    assert [r.printed_fps for r in rows] == [11.9, 10.3, 11.5, 6.0, 10.2, 6.7, 10.2, 5.6]
    printed = [1, 10.3 / 11.9, 11.5 / 11.9, 6 / 11.9, 1, 6.7 / 10.2, 1, 5.6 / 10.2]
    assert [r.printed_ratio for r in rows] == pytest.approx(printed)
    assert [r.ap for r in rows] == [39.4, 40.1, 41.8, 44.0, 42.8, 44.5, 45.6, 47.4]


@pytest.mark.parametrize(("size", "said"), [((800, 1344), False), ((192, 320), True)])
def test_the_papers_table_says_when_pictures_are_not_the_papers(size: tuple[int, int], said: bool) -> None:
    """Ratios change with the size."""
    measured = [
        Measured(
            case=case(arch, kind, size), rate=Quartiles(f, f, f), p50_ms=1, p95_ms=1, peak_mib=7, repeats=5, working=1
        )
        for (kind, arch), f in FPS.items()
    ]
    result = BenchResult(
        place="here", torch="2", network_only=True, measured=measured, paper=paper_rows(FPS), size=size
    )
    lines = describe(result)
    assert ("not the paper's 800x1333" in lines[1]) is said
    assert [line.split()[:2] for line in lines[3:11]] == [[r.detector, r.arch] for r in result.paper]
    assert not any("processor worked" in line for line in lines)


def test_rates_are_batches_over_seconds() -> None:
    """Five passes of two pictures in 1 to 5 seconds, half of which the processor worked for others."""
    found = summed_up(case("resnet50"), [Pass(s, s / 2) for s in (1.0, 2.0, 3.0, 4.0, 5.0)], 12.0)
    assert found.rate == Quartiles(0.5, pytest.approx(2 / 3), 1.0)
    assert found.p50_ms == pytest.approx(3000)
    assert found.p95_ms == pytest.approx(4800)
    assert (found.repeats, found.working, found.peak_mib) == (5, 0.5, 12.0)


def test_generated_pictures_have_the_size_asked_for(tmp_path: Path) -> None:
    """And their boxes lie in them."""
    drawn = write_pictures(tmp_path / "data", (60, 100), 5)
    assert drawn.sizes.tolist() == [[100, 60]] * 5
    assert len(drawn.boxes)
    assert np.all(drawn.boxes[:, :2] >= 0)
    assert np.all(drawn.boxes[:, 2:] <= (100, 60))
