"""A classifier for the loop is the classifier for use elsewhere, with a loss."""

import math

import torch

from spnas.arch import parse
from spnas.nets.backbone import Backbone
from spnas.nets.classifier import SMOOTHING, PictureClassifier
from spnas.nets.features import Classifier
from spnas.nets.proposals import Targets

ARCH = parse("basic conv: 8x1 / 16x1")


def targets(labels: torch.Tensor) -> Targets:
    count = len(labels)
    return Targets(torch.zeros(count, 1, 4), labels[:, None], torch.zeros(count, 1, dtype=torch.bool))


def test_it_is_the_net_that_create_model_makes() -> None:
    ours, theirs = PictureClassifier(Backbone(ARCH), classes=7), Classifier(Backbone(ARCH), num_classes=7)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(ours.eval()(images), theirs.eval()(images), atol=1e-6)


def test_the_loss_of_equal_scores_is_the_logarithm_of_the_classes() -> None:
    classifier = PictureClassifier(Backbone(ARCH), classes=7)
    torch.nn.init.zeros_(classifier.fc.weight)
    torch.nn.init.zeros_(classifier.fc.bias)
    loss = classifier.loss(torch.randn(3, 3, 32, 32), targets(torch.tensor([0, 3, 6])))["class"]
    assert math.isclose(float(loss.detach()), math.log(7), rel_tol=1e-5)


def test_smoothing_bounds_what_certainty_is_worth() -> None:
    """Of two classes the best loss is the entropy of .95 and .05, where the right score leads by log 19."""
    classifier = PictureClassifier(Backbone(ARCH), classes=2)
    torch.nn.init.zeros_(classifier.fc.weight)
    best = -sum(p * math.log(p) for p in (1 - SMOOTHING / 2, SMOOTHING / 2))
    images = torch.randn(1, 3, 32, 32)

    def loss(lead: float) -> float:
        with torch.no_grad():
            classifier.fc.bias.copy_(torch.tensor([lead, 0.0]))
            return float(classifier.loss(images, targets(torch.tensor([0])))["class"])

    assert math.isclose(loss(math.log(19)), best, rel_tol=1e-5)
    assert loss(6) > best
    assert loss(1) > best
