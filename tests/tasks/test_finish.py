"""What a search hands over, and what it leaves alone."""

from pathlib import Path

from spnas.talk import Talk
from spnas.tasks.finish import _put_aside


def bundle(best: Path, *more: str) -> None:
    best.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors", "manifest.json", *more):
        (best / name).write_text(name)


def test_what_its_owner_put_beside_an_earlier_model_is_kept_with_it(tmp_path: Path) -> None:
    """An exported model belongs to the detector that it was made of."""
    best = tmp_path / "best"
    for number in (1, 2):
        bundle(best, "model.onnx")
        _put_aside(best, Talk(quiet=True))
        assert not best.exists()
        kept = {path.name for path in (tmp_path / f"best-before-{number}").iterdir()}
        assert kept == {"config.json", "model.safetensors", "manifest.json", "model.onnx"}


def test_a_model_alone_is_not_kept_when_there_is_a_better_one(tmp_path: Path) -> None:
    best = tmp_path / "best"
    _put_aside(best, Talk(quiet=True))
    bundle(best)
    _put_aside(best, Talk(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
