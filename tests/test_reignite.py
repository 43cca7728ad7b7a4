"""A detector's backbone becomes a classifier and comes back: what it had is kept, what is new is named."""

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import torch

from spnas.arch import parse
from spnas.assess import ParentWeights
from spnas.data.batches import Resize
from spnas.data.folders import open_folders
from spnas.data.squares import SquareSet, squares_of
from spnas.errors import IntegrityError, UsageError
from spnas.nets.backbone import Backbone
from spnas.nets.settings import PRESETS
from spnas.reignite import Ignited, ignited_backbone, reignite, start
from spnas.train.classifier_file import load_classifier
from spnas.train.settings import TrainSettings
from spnas.train.weights import ModelConfig, build, save_model
from tests.stripes import write_stripes

POOL, CONV = parse("basic: 8x2 / 16x1"), parse("basic conv: 8x2 / 16x1")
SETTINGS = TrainSettings(batch_size=8)


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> SquareSet:
    return squares_of(open_folders(write_stripes(tmp_path_factory.mktemp("stripes") / "data", train=12, val=6)), 32)


@pytest.fixture
def parent(tmp_path: Path) -> tuple[ParentWeights, Backbone]:
    """A detector whose second block has a projection by descent, and BN statistics of its own."""
    config = ModelConfig(
        detector="faster_rcnn",
        arch=POOL.text,
        projections=(1,),
        classes=("x",),
        category_ids=(1,),
        settings=PRESETS["small"],
        resize=Resize(None, 64),
    )
    detector = build(config, seed=3)
    backbone = cast(Backbone, detector.backbone)
    backbone.train()(torch.randn(2, 3, 64, 64))
    path = tmp_path / "parent.safetensors"
    return ParentWeights(path, save_model(path, detector, config)), backbone.eval()


def lit(squares: SquareSet, weights: Path, **more: Any) -> Ignited:
    given: dict[str, Any] = {"weights_from": None, "steps": 4, "settings": SETTINGS, "seed": 0} | more
    return reignite(given.pop("arch", CONV), data=squares, weights=weights, **given)


def test_everything_but_a_changed_stem_is_inherited(parent: tuple[ParentWeights, Backbone]) -> None:
    weights, old = parent
    kept = start(POOL, weights_from=weights, classes=2, seed=0).backbone
    changed = start(CONV, weights_from=weights, classes=2, seed=0).backbone
    fresh = start(CONV, weights_from=None, classes=2, seed=0).backbone
    assert kept.projections == changed.projections == {1}
    assert all(torch.equal(v, old.state_dict()[n]) for n, v in kept.state_dict().items())
    new, scratch = changed.state_dict(), fresh.state_dict()
    assert all(torch.equal(v, old.state_dict()[n]) for n, v in new.items() if not n.startswith("stem."))
    assert all(torch.equal(v, scratch[n]) for n, v in new.items() if n.startswith("stem."))


def test_another_backbone_is_refused(parent: tuple[ParentWeights, Backbone]) -> None:
    with pytest.raises(UsageError, match=r"its backbone is 'basic: 8x2 / 16x1', not .*; only the stem may differ"):
        start(parse("basic conv: 8x1 / 16x1"), weights_from=parent[0], classes=2, seed=0)
    with pytest.raises(IntegrityError, match="SHA-256"):
        start(CONV, weights_from=ParentWeights(parent[0].path, "0" * 64), classes=2, seed=0)


def test_the_ignited_backbone_is_that_of_the_classifier(
    parent: tuple[ParentWeights, Backbone], squares: SquareSet, tmp_path: Path
) -> None:
    path = tmp_path / "lit.safetensors"
    result = lit(squares, path, weights_from=parent[0])
    classifier, config = load_classifier(path)
    backbone = ignited_backbone(path, result.sha256)
    assert (config.arch, config.projections, config.classes) == (CONV.text, (1,), ("lying", "standing"))
    assert config.metrics == result.metrics
    assert set(result.metrics) == {"top1_error"}
    assert backbone.arch == CONV
    assert backbone.projections == {1}
    images = torch.randn(2, 3, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(backbone(images), classifier.backbone(images), strict=True))
    before = parent[1].state_dict()
    assert not all(torch.equal(v, before[n]) for n, v in backbone.state_dict().items() if not n.startswith("stem."))
    with pytest.raises(IntegrityError, match="SHA-256 is not the one recorded"):
        ignited_backbone(path, "0" * 64)


def test_the_same_seed_gives_the_same_file_and_another_one_does_not(squares: SquareSet, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (lit(squares, tmp_path / f"{n}.safetensors", seed=seed) for n, seed in enumerate((0, 0, 1)))
    assert first.sha256 == again.sha256 != other.sha256
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_interrupted_one_ends_with_the_same_file(
    squares: SquareSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of other settings is not gone on with."""
    monkeypatch.setattr("spnas.train.loop.SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    checkpoint = tmp_path / "training.safetensors"
    whole = lit(squares, tmp_path / "whole.safetensors", steps=12)
    with pytest.raises(KeyboardInterrupt):
        lit(squares, tmp_path / "b.safetensors", steps=12, checkpoint=checkpoint, on_step=interrupt)
    assert checkpoint.exists()
    assert lit(squares, tmp_path / "b.safetensors", steps=12, checkpoint=checkpoint).sha256 == whole.sha256
    faster = msgspec.structs.replace(SETTINGS, rate=0.01)
    expected = lit(squares, tmp_path / "c.safetensors", steps=12, settings=faster)
    got = lit(squares, tmp_path / "d.safetensors", steps=12, settings=faster, checkpoint=checkpoint)
    assert got.sha256 == expected.sha256
