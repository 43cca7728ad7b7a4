"""Classifiers are trained the same every time, and their errors are counted exactly."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.stripes import write_stripes
from torch import Tensor

from spnas.arch import parse
from spnas.data import squares as squares_module
from spnas.data.batches import Batch
from spnas.data.folders import open_folders
from spnas.data.squares import SquareSet, eval_squares, squares_of
from spnas.nets.backbone import Backbone
from spnas.nets.classifier import PictureClassifier
from spnas.train import classify, loop
from spnas.train.classify import CLASSIFY, errors, judge, train_classifier
from spnas.train.loop import TrainKey
from spnas.train.settings import TrainSettings

ARCH = parse("basic conv: 8x1 / 16x1 / 32x1")
SETTINGS = TrainSettings(rate=CLASSIFY.rate, batch_size=16)
KEY = TrainKey(0, 0, "a")


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> SquareSet:
    return squares_of(open_folders(write_stripes(tmp_path_factory.mktemp("stripes") / "data")), 32)


@pytest.fixture
def classifier() -> PictureClassifier:
    torch.manual_seed(0)
    return PictureClassifier(Backbone(ARCH), classes=2)


def same(a: PictureClassifier, b: PictureClassifier) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def batches(labels: Tensor, scores: Tensor) -> Iterator[Batch]:
    """Batches of three whose pictures are their scores."""
    for rows in torch.split(torch.arange(len(labels)), 3):
        empty = torch.zeros(len(rows), 1)
        yield Batch(scores[rows], empty, labels[rows, None], empty.bool(), rows, empty, empty.long())


def test_a_constant_classifier_errs_as_often_as_there_are_other_classes() -> None:
    """8 classes, scores 7 > 6 > ... > 0 whatever is shown: classes 0, and 0..4, are what it gets right."""
    labels = torch.tensor([0, 0, 0, 1, 2, 3, 4, 4, 5, 6, 7])
    scores = torch.arange(7, -1, -1.0).repeat(11, 1)
    assert errors(lambda images: images, batches(labels, scores)) == {"top1_error": 8 / 11, "top5_error": 3 / 11}
    equal = errors(lambda images: torch.zeros_like(images), batches(labels, scores))
    assert equal == {"top1_error": 8 / 11, "top5_error": 3 / 11}


def test_no_top_5_error_is_told_where_it_could_only_be_0() -> None:
    labels = torch.tensor([0, 1, 2])
    assert errors(lambda x: x, batches(labels, torch.eye(3, 5))) == {"top1_error": 0.0}
    assert errors(lambda x: x, batches(labels, torch.eye(3, 6))) == {"top1_error": 0.0, "top5_error": 0.0}


def test_scores_that_are_no_numbers_are_no_guesses() -> None:
    labels, scores = torch.tensor([0, 1]), torch.eye(2, 6)
    scores[1] = torch.nan
    assert errors(lambda x: x, batches(labels, scores)) == {"top1_error": 0.5, "top5_error": 0.5}


def test_nothing_to_judge_on_is_no_perfect_score() -> None:
    with pytest.raises(ValueError, match="no picture"):
        errors(lambda x: x, iter(()))


def test_stripes_are_learned_far_beyond_chance(squares: SquareSet, classifier: PictureClassifier) -> None:
    """Lying from standing, on pictures it has not seen: chance errs in half of them."""
    train_classifier(classifier, squares.train, SETTINGS, steps=150, key=KEY)
    assert judge(classifier, eval_squares(squares.val, batch_size=16))["top1_error"] < 0.1


def test_the_same_key_gives_the_same_weights_bit_for_bit(squares: SquareSet, classifier: PictureClassifier) -> None:
    twin, other = copy.deepcopy(classifier), copy.deepcopy(classifier)
    for net, seed in ((classifier, 0), (twin, 0), (other, 1)):
        train_classifier(net, squares.train, SETTINGS, steps=5, key=TrainKey(seed, 0, "a"))
    assert same(classifier, twin)
    assert not same(classifier, other)


def test_an_interrupted_training_goes_on_bit_for_bit(
    squares: SquareSet, classifier: PictureClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, fresh, checkpoint = copy.deepcopy(classifier), copy.deepcopy(classifier), tmp_path / "training.safetensors"
    train_classifier(whole, squares.train, SETTINGS, steps=20, key=KEY)
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def interrupt(step: int, _: dict[str, float]) -> None:
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_classifier(
            classifier, squares.train, SETTINGS, steps=20, key=KEY, checkpoint=checkpoint, on_step=interrupt
        )
    asked: list[int] = []
    made = squares_module.train_squares

    def counted(*words: object, step: int, **more: object) -> Batch:
        asked.append(step)
        return made(*words, step=step, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(classify, "train_squares", counted)
    train_classifier(fresh, squares.train, SETTINGS, steps=20, key=KEY, checkpoint=checkpoint)
    assert asked == list(range(9, 20))  # the checkpoint of step 9 was the last one before the interruption
    assert same(fresh, whole)
