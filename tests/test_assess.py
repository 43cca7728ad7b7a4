"""One candidate, whole, on real (small) training: what a child starts from, and what it leaves."""

from pathlib import Path

import pytest
import torch

from spnas.arch import Candidate, Move, parse
from spnas.arch.move import apply_all
from spnas.assess import Materials, ParentWeights, Recipe, assess
from spnas.data.batches import Pictures, Resize, eval_batches
from spnas.data.generate import GeneratorSettings, generate
from spnas.data.open import open_data
from spnas.data.records import DataSet
from spnas.data.split import carve
from spnas.evaluate.detect import detect
from spnas.nets.settings import PRESETS
from spnas.train.settings import TrainSettings
from spnas.train.weights import load_model

ARCH = parse("basic: 8x1 / 16x1 / 32x1 / 64x1")
RECIPE = Recipe(
    detector="faster_rcnn",
    detector_settings=PRESETS["small"],
    train_settings=TrainSettings(batch_size=8),
    resize=Resize(None, 64),
)


def materials_of(data: DataSet) -> Materials:
    train, search_val = carve(data.train, share=0.25, seed=0)
    parts = (train, search_val, data.train, data.val)
    return Materials(**dict(zip(Materials.__struct_fields__, (Pictures(p, RECIPE.resize) for p in parts), strict=True)))


def test_what_an_assessment_leaves_is_a_model_and_its_numbers(tiny: DataSet, tmp_path: Path) -> None:
    root = Candidate(number=0, role="root", arch=ARCH, steps=3, seed=0)
    outcome = assess(root, RECIPE, materials_of(tiny), parent=None, weights=tmp_path / "0.safetensors")
    assert outcome.failure is None
    assert outcome.judged_on == "search-val"
    assert 0 <= outcome.metrics["ap"] <= outcome.metrics["ap50"] <= 1
    assert outcome.gmacs > 0
    detector, config = load_model(tmp_path / "0.safetensors", digest=outcome.sha256)
    assert config.metrics == outcome.metrics
    assert config.arch == ARCH.text
    assert not detector.training


def test_the_same_candidate_gives_the_same_weights(tiny: DataSet, tmp_path: Path) -> None:
    root = Candidate(number=0, role="root", arch=ARCH, steps=3, seed=0)
    first, again = (
        assess(root, RECIPE, materials_of(tiny), parent=None, weights=tmp_path / name).sha256
        for name in ("a.safetensors", "b.safetensors")
    )
    assert first == again


def test_finals_learn_from_all_of_train_and_are_judged_on_val(tiny: DataSet, tmp_path: Path) -> None:
    final = Candidate(number=9, role="final", arch=ARCH, steps=2, seed=1, finalist=3)
    outcome = assess(final, RECIPE, materials_of(tiny), parent=None, weights=tmp_path / "9.safetensors")
    assert outcome.judged_on == "val"


def test_search_candidates_never_look_at_val(tiny: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    materials = materials_of(tiny)

    def refuse(_index: int) -> None:
        raise AssertionError("val was looked at")

    monkeypatch.setattr(materials.val, "sample", refuse)
    monkeypatch.setattr(materials.whole_train, "sample", refuse)
    root = Candidate(number=0, role="root", arch=ARCH, steps=1, seed=0)
    assess(root, RECIPE, materials, parent=None, weights=tmp_path / "0.safetensors")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Materials:
    """Enough pictures to learn something from within seconds."""
    folder = tmp_path_factory.mktemp("shapes") / "data"
    easy = GeneratorSettings(
        train=260,
        val=60,
        side_px=48,
        objects=(1, 1),
        size_px=(16, 36),
        noise=0.01,
        lines=0,
        classes=("circle", "square"),
    )
    generate(folder, easy)
    return materials_of(open_data(folder))


def test_an_inserted_block_changes_no_detection_and_a_child_is_far_ahead_of_a_fresh_net(
    shapes: Materials, tmp_path: Path
) -> None:
    """After 800 steps of a parent, a child of 50 steps has AP > 0.5, where a net from scratch has < 0.1."""
    arch = parse("basic: 16x1 / 32x1 / 64x1 / 128x1")
    root = Candidate(number=0, role="root", arch=arch, steps=800, seed=0)
    parent = assess(root, RECIPE, shapes, parent=None, weights=tmp_path / "0.safetensors")
    assert parent.sha256 is not None
    weights = ParentWeights(tmp_path / "0.safetensors", parent.sha256)
    moves = (Move("expand-block", 1, 1),)
    child = apply_all(arch, moves)

    still = Candidate(number=1, role="child", arch=child, steps=0, seed=0, parent=0, moves=moves)
    assess(still, RECIPE, shapes, parent=weights, weights=tmp_path / "1.safetensors")
    before, after = (
        detect(load_model(tmp_path / f"{n}.safetensors")[0], eval_batches(shapes.val, batch_size=8)) for n in (0, 1)
    )
    assert torch.equal(torch.from_numpy(before.boxes), torch.from_numpy(after.boxes))
    assert torch.equal(torch.from_numpy(before.scores), torch.from_numpy(after.scores))

    short = Candidate(number=2, role="child", arch=child, steps=50, seed=0, parent=0, moves=moves)
    inherited = assess(short, RECIPE, shapes, parent=weights, weights=tmp_path / "2.safetensors")
    scratch = Candidate(number=3, role="root", arch=child, steps=50, seed=0)
    fresh = assess(scratch, RECIPE, shapes, parent=None, weights=tmp_path / "3.safetensors")
    assert inherited.metrics["ap"] > 0.5
    assert fresh.metrics["ap"] < 0.1
