"""Which GPUs there are, and how they are dealt out."""

from pathlib import Path

import pytest

from spnas.errors import UsageError
from spnas.runs import gpus


def test_gpus_are_shared_by_whole_numbers_and_fractions() -> None:
    """Two each, three on one, and never more than there are."""
    assert gpus.share(tuple("01234567"), workers=4, gpus_per_worker=2) == ("0,1", "2,3", "4,5", "6,7")
    assert gpus.share(("a", "b"), workers=6, gpus_per_worker=1 / 3) == ("a", "a", "a", "b", "b", "b")
    assert gpus.share(tuple("0123"), workers=4, gpus_per_worker=1) == ("0", "1", "2", "3")
    with pytest.raises(UsageError, match="8 workers with 1 GPUs each need 8, 2 are visible; use fewer workers"):
        gpus.share(("0", "1"), workers=8, gpus_per_worker=1)
    with pytest.raises(UsageError, match=r"5 workers with 0\.5 GPUs each need 3, 2 are visible"):
        gpus.share(("0", "1"), workers=5, gpus_per_worker=0.5)
    for wrong in (1.5, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=r"use a whole number, or a share of one such as 0\.5"):
            gpus.check(wrong)


@pytest.mark.parametrize(
    ("chosen", "seen"), [("", ()), ("-1", ()), ("NoDevFiles", ()), ("2,0", ("2", "0")), ("1,-1,2", ("1",))]
)
def test_the_gpus_of_the_parent_are_those_that_cuda_sees(
    chosen: str, seen: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA stops at the first name that is none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert gpus.visible() == seen


def test_without_a_choice_all_gpus_of_the_driver_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver lists them in /proc; without it the tool that comes with it is asked, which may be absent too."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "_DRIVER", tmp_path / "gpus")
    assert gpus.visible() == ()
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: GPU-1)'\necho 'GPU 1: A (UUID: GPU-2)'\necho '  MIG 1g'\n")
    tool.chmod(0o755)
    assert gpus.visible() == ("0", "1")
    for name in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        (tmp_path / "gpus" / name).mkdir(parents=True)
    assert gpus.visible() == ("0", "1", "2")
