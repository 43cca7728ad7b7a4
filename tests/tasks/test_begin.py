"""What a search may begin with: a model of ours, a finished study, or weights made elsewhere."""

from pathlib import Path
from typing import cast

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from spnas.arch import parse
from spnas.arch.published import arch_of
from spnas.assess import Recipe
from spnas.config import START
from spnas.data.batches import Resize
from spnas.data.records import DataSet
from spnas.errors import UsageError
from spnas.hub import from_pretrained, save_pretrained
from spnas.models import create_model
from spnas.nets.backbone import Backbone
from spnas.nets.classifier import PictureClassifier
from spnas.nets.settings import PRESETS
from spnas.runs.folder import RunFolder
from spnas.tasks.begin import begin_from
from spnas.train.classifier_file import ClassifierConfig, write_classifier_bundle
from spnas.train.settings import TrainSettings
from spnas.train.weights import ModelConfig, build, load_model, write_bundle

ARCH = "basic: 8x1 / 16x1 / 32x1 / 64x1"
RECIPE = Recipe(
    detector="faster_rcnn",
    detector_settings=PRESETS["small"],
    train_settings=TrainSettings(),
    resize=Resize(None, 64),
)


def bundle(folder: Path, classes: tuple[str, ...]) -> dict[str, torch.Tensor]:
    config = ModelConfig(
        detector="faster_rcnn",
        arch=ARCH,
        classes=classes,
        category_ids=tuple(range(len(classes))),
        settings=PRESETS["small"],
        resize=Resize(None, 64),
    )
    detector = build(config, seed=5)
    folder.mkdir(parents=True)
    write_bundle(folder, detector, config)
    return cast("dict[str, torch.Tensor]", detector.state_dict())


def started(tiny: DataSet, tmp_path: Path, start: Path, root: str | None = None) -> dict[str, torch.Tensor]:
    """Return the weights that a study of `tiny` would begin with."""
    begun = begin_from(start, root)
    folder = RunFolder(tmp_path / "run")
    with folder.lock():
        digest = begun.copy_into(folder, arch_of(str(begun.root)), RECIPE, tiny.train)
    detector, _ = load_model(folder.path_of(START), digest=digest)
    return cast("dict[str, torch.Tensor]", detector.state_dict())


def test_a_model_for_the_same_classes_is_taken_whole(tiny: DataSet, tmp_path: Path) -> None:
    known = bundle(tmp_path / "model", tiny.train.classes)
    mine = started(tiny, tmp_path, tmp_path / "model")
    assert mine.keys() == known.keys()
    assert all(torch.equal(mine[name], known[name]) for name in known)


def test_of_a_model_for_other_classes_the_backbone_is_taken(tiny: DataSet, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "study").lock():
        RunFolder(tmp_path / "study").begin(b"{}")
    known = bundle(tmp_path / "study" / "best", ("cat",))
    mine = started(tiny, tmp_path, tmp_path / "study")  # a finished study stands for its best model
    same = {name for name in mine if mine[name].shape == known[name].shape and torch.equal(mine[name], known[name])}
    backbone = {name for name in mine if name.startswith("backbone.")}
    assert backbone <= same
    assert "neck.lateral.0.weight" not in same
    assert len(mine["head.scores.weight"]) == len(tiny.train.classes) + 1


def test_a_classifier_or_a_saved_backbone_says_itself_what_it_is(tiny: DataSet, tmp_path: Path) -> None:
    """What `spnas classify train` hands over begins a search, a training and a model, by its folder or its file."""
    backbone = Backbone(parse(ARCH))
    lit, saved = tmp_path / "lit", tmp_path / "saved"
    lit.mkdir()
    card = ClassifierConfig(arch=ARCH, classes=("a", "b"), side=32)
    write_classifier_bundle(lit, PictureClassifier(backbone, classes=2), card)
    save_pretrained(backbone, saved)
    for number, start in enumerate((lit, lit / "model.safetensors", saved, saved / "model.safetensors")):
        mine = started(tiny, tmp_path / str(number), start)
        for name, value in backbone.state_dict().items():
            assert torch.equal(mine[f"backbone.{name}"], value)
        assert torch.equal(
            create_model(ARCH, pretrained_path=start).state_dict()["backbone.stem.0.weight"], backbone.stem[0].weight
        )
    for folder in (lit, saved):
        assert torch.equal(from_pretrained(folder).state_dict()["backbone.stem.0.weight"], backbone.stem[0].weight)
    with pytest.raises(UsageError, match="leave --root out"):
        begin_from(lit, "resnet50")


def test_weights_with_torchvision_s_names_fill_the_root_that_is_named(tiny: DataSet, tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18(weights=None).eval()
    save_file(theirs.state_dict(), tmp_path / "resnet18.safetensors")
    mine = started(tiny, tmp_path, tmp_path / "resnet18.safetensors", root="resnet18")
    assert torch.equal(mine["backbone.stem.0.weight"], theirs.state_dict()["conv1.weight"])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    bundle(tmp_path / "model", ("cat",))
    with pytest.raises(UsageError, match="leave --root out"):
        begin_from(tmp_path / "model", "resnet18")
    with pytest.raises(UsageError, match="no such model, study or file of weights"):
        begin_from(tmp_path / "nowhere", None)
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="say by --root which architecture"):
        begin_from(tmp_path / "w.safetensors", None)
