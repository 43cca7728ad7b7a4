"""A classifier's file says what it is, is known from a damaged one, and is read by what reads backbones."""

from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file

import spnas
from spnas.arch import parse
from spnas.errors import IntegrityError, UsageError
from spnas.nets.backbone import Backbone
from spnas.nets.classifier import PictureClassifier
from spnas.train.classifier_file import ClassifierConfig, load_classifier, save_classifier, write_classifier_bundle

ARCH = parse("basic conv: 8x2 / 16x1")
CONFIG = ClassifierConfig(
    arch=ARCH.text, projections=(1,), classes=("a", "b", "c"), side=32, metrics={"top1_error": 0.5}
)


@pytest.fixture
def classifier() -> PictureClassifier:
    return PictureClassifier(Backbone(ARCH, projections=frozenset({1})), classes=3).eval()


def test_what_is_saved_comes_back(classifier: PictureClassifier, tmp_path: Path) -> None:
    digest = save_classifier(tmp_path / "a.safetensors", classifier, CONFIG)
    assert {save_classifier(tmp_path / "b.safetensors", classifier, CONFIG) for _ in range(20)} == {digest}
    write_classifier_bundle(tmp_path, classifier, CONFIG)
    images = torch.randn(2, 3, 32, 32)
    for path, known in ((tmp_path / "a.safetensors", digest), (tmp_path, None)):
        back, config = load_classifier(path, digest=known)
        assert config == CONFIG
        assert torch.equal(back(images), classifier(images))


def test_create_model_takes_it_for_what_it_is(classifier: PictureClassifier, tmp_path: Path) -> None:
    """Its backbone, with the projections that it kept, and its head."""
    save_classifier(tmp_path / "a.safetensors", classifier, CONFIG)
    model = spnas.create_model(
        ARCH, features_only=False, pretrained_path=tmp_path / "a.safetensors", num_classes=3
    ).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(model(images), classifier(images), atol=1e-6)


def test_what_is_damaged_is_known_and_what_is_something_else_too(classifier: PictureClassifier, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    digest = save_classifier(path, classifier, CONFIG)
    with pytest.raises(UsageError, match="no such classifier; give a folder or file"):
        load_classifier(tmp_path / "b.safetensors")
    with pytest.raises(UsageError, match="no readable manifest"):
        load_classifier(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="SHA-256 is not the one recorded"):
        load_classifier(path, digest=digest)
    path.write_bytes(data[:-5])
    with pytest.raises(IntegrityError, match="not a whole safetensors file"):
        load_classifier(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UsageError, match="not a classifier of ours"):
        load_classifier(path)


def test_tensors_of_another_net_are_refused(classifier: PictureClassifier, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_classifier(path, classifier, msgspec.structs.replace(CONFIG, classes=("a", "b")))
    with pytest.raises(IntegrityError, match=r"'fc\.bias' and 1 more do not suit"):
        load_classifier(path)
    save_classifier(path, classifier, msgspec.structs.replace(CONFIG, schema=2))
    with pytest.raises(UsageError, match="written by a newer spnas"):
        load_classifier(path)


def test_a_bundle_that_was_changed_is_refused(classifier: PictureClassifier, tmp_path: Path) -> None:
    write_classifier_bundle(tmp_path, classifier, CONFIG)
    with (tmp_path / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(IntegrityError, match=r"config\.json: missing, or not what manifest\.json says"):
        load_classifier(tmp_path)
