"""One candidate, whole, on real (small) training: what a child starts from, and what it leaves."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from spnas.arch import Candidate, Move, parse
from spnas.arch.move import apply_all
from spnas.assess import Materials, ParentWeights, Recipe, assess, measure, start
from spnas.data.batches import Pictures, Resize, eval_batches
from spnas.data.crops import object_crops
from spnas.data.generate import GeneratorSettings, generate
from spnas.data.open import open_data
from spnas.data.records import DataSet
from spnas.data.split import carve
from spnas.data.squares import squares_of
from spnas.evaluate.detect import detect
from spnas.nets.settings import PRESETS
from spnas.reignite import reignite
from spnas.train.classifier_file import load_classifier
from spnas.train.classify import CLASSIFY
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


CHILD = apply_all(ARCH, (Move("expand-block", 1, 1),))


@pytest.fixture
def parent(tiny: DataSet, tmp_path: Path) -> ParentWeights:
    """A root that was trained for three steps."""
    root = Candidate(number=0, role="root", arch=ARCH, steps=3, seed=0)
    outcome = assess(root, RECIPE, materials_of(tiny), parent=None, weights=tmp_path / "0.safetensors")
    return ParentWeights(tmp_path / "0.safetensors", str(outcome.sha256))


def child_of(number: int, **more: Any) -> Candidate:
    moves = (Move("expand-block", 1, 1),)
    return Candidate(number=number, role="child", arch=CHILD, steps=6, seed=0, parent=0, moves=moves, **more)


@pytest.mark.parametrize("kept", [True, False])
def test_a_child_that_was_stopped_and_gone_on_with_is_the_one_trained_in_one_go(
    tiny: DataSet, tmp_path: Path, parent: ParentWeights, kept: bool
) -> None:
    """Also where the checkpoint between the two was lost: it is made again."""
    materials, checkpoint = materials_of(tiny), tmp_path / "4" / "training.safetensors"
    checkpoint.parent.mkdir()
    whole = assess(child_of(4), RECIPE, materials, parent=parent, weights=tmp_path / "w.safetensors")
    stopped = assess(
        child_of(4, until=2),
        RECIPE,
        materials,
        parent=parent,
        weights=tmp_path / "s.safetensors",
        checkpoint=checkpoint,
    )
    assert (stopped.weights, stopped.sha256) == (None, None)
    assert not (tmp_path / "s.safetensors").exists()
    if not kept:
        checkpoint.unlink()
    rung = msgspec.structs.replace(child_of(9, continues=4), role="rung")
    went_on = assess(rung, RECIPE, materials, parent=parent, weights=tmp_path / "r.safetensors", checkpoint=checkpoint)
    assert went_on.sha256 == whole.sha256
    assert went_on.metrics == whole.metrics


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_control_that_is_looked_at_early_is_trained_as_if_it_had_not_been(
    tiny: DataSet, tmp_path: Path, parent: ParentWeights, interrupted: bool
) -> None:
    materials, checkpoint = materials_of(tiny), tmp_path / "1" / "training.safetensors"
    checkpoint.parent.mkdir()
    control = Candidate(number=1, role="control", arch=ARCH, steps=6, seed=0, parent=0)
    plain = assess(control, RECIPE, materials, parent=parent, weights=tmp_path / "p.safetensors")
    looked = msgspec.structs.replace(control, look=2)
    tell: Any = {"parent": parent, "weights": tmp_path / "l.safetensors", "checkpoint": checkpoint}
    found = assess(looked, RECIPE, materials, **tell)
    if interrupted:  # by a crash between its end and the ledger: what was seen early is not lost
        again = assess(looked, RECIPE, materials, **tell)
        assert (again.early, again.metrics, again.sha256) == (found.early, found.metrics, found.sha256)
    stopped = assess(
        msgspec.structs.replace(control, until=2), RECIPE, materials, parent=parent, weights=tmp_path / "x.safetensors"
    )
    assert plain.early == {}
    assert found.early == stopped.metrics
    assert found.sha256 == plain.sha256


def test_a_root_that_was_lit_starts_from_the_classifier_s_backbone(
    tiny: DataSet, tmp_path: Path, parent: ParentWeights
) -> None:
    materials, lit = materials_of(tiny), parse("basic conv: 8x1 / 16x1 / 32x1 / 64x1")
    squares = squares_of(object_crops(materials.train.annotations, fingerprint="f"), 32)
    path = tmp_path / "7.safetensors"
    done = reignite(lit, weights_from=parent, data=squares, steps=2, settings=CLASSIFY, seed=0, weights=path)
    root = Candidate(number=8, role="root", phase="reignite", arch=lit, steps=0, seed=0, parent=7)
    detector, _ = start(root, RECIPE, materials.train, ParentWeights(path, done.sha256))
    old, _ = load_classifier(path, digest=done.sha256)
    mine, theirs = detector.backbone.state_dict(), old.backbone.state_dict()  # type: ignore[union-attr]
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_child_of_the_release_has_a_dead_new_block_and_a_fresh_neck(tiny: DataSet, parent: ParentWeights) -> None:
    learn = materials_of(tiny).train
    detector, _ = start(child_of(3), RECIPE, learn, parent, as_released=True)
    old, _ = load_model(parent.path, digest=parent.sha256)
    new = detector.backbone.blocks()[2]  # type: ignore[union-attr,operator]
    norms = [m for m in new.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all((norm.weight == 0).all() for norm in norms)
    assert torch.equal(detector.backbone.blocks()[0].conv1[0].weight, old.backbone.blocks()[0].conv1[0].weight)  # type: ignore[union-attr,operator]
    necks = zip(detector.neck.parameters(), old.neck.parameters(), strict=True)  # type: ignore[union-attr]
    assert not all(torch.equal(a, b) for a, b in necks)


def test_copies_of_the_release_are_the_stage_itself(tiny: DataSet, parent: ParentWeights) -> None:
    learn = materials_of(tiny).train
    moves = (Move("add-copy", 1),)
    copied = msgspec.structs.replace(child_of(3), arch=apply_all(ARCH, moves), moves=moves)
    for released in (True, False):
        detector, config = start(copied, RECIPE, learn, parent, as_released=released)
        assert (detector.backbone.tied, config.tied) == (released, released)  # type: ignore[union-attr]
    assert not start(child_of(3), RECIPE, learn, parent, as_released=True)[1].tied


def test_validation_loss_is_measured_where_it_is_looked_for(tiny: DataSet, parent: ParentWeights) -> None:
    detector, _ = load_model(parent.path, digest=parent.sha256)
    judged = materials_of(tiny).search_val
    assert "loss" not in measure(detector, judged)
    assert measure(detector, judged, "loss")["loss"] > 0
