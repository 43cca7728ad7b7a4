"""Re-ignition: a backbone, trained again as an image classifier, from which detectors then start anew.

Source: SP-NAS, serial phase: when a search is stuck, its best net is trained again on ImageNet, and its stem becomes
two strided 3x3 convolutions. We differ: any labelled pictures do, also crops of the user's own objects
(`data.crops`), and all but a changed stem starts from the weights that the detector has.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import msgspec
import torch

from spnas.arch import Arch
from spnas.data.squares import SquareSet, eval_squares
from spnas.errors import UsageError
from spnas.nets.backbone import Backbone
from spnas.nets.classifier import PictureClassifier
from spnas.rng import torch_seed
from spnas.train.classifier_file import ClassifierConfig, load_classifier, save_classifier
from spnas.train.classify import judge, train_classifier
from spnas.train.loop import TrainKey
from spnas.train.settings import TrainSettings
from spnas.train.weights import load_model

EVAL_BATCH = 64


class WeightsFile(Protocol):
    """A detector's file and its SHA-256."""

    @property
    def path(self) -> Path:
        """Where it lies."""

    @property
    def sha256(self) -> str:
        """What its bytes hash to."""


class Ignited(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: `metrics` are top1_error and, with more than five classes, top5_error, in 0..1 on val.

    params: of the whole classifier. seconds differ between runs.
    """

    metrics: dict[str, float]
    sha256: str
    params: int
    seconds: float


def reignite(
    arch: Arch,
    *,
    weights_from: WeightsFile | None,
    data: SquareSet,
    steps: int,
    settings: TrainSettings,
    seed: int,
    weights: Path,
    checkpoint: Path | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
    device: str = "cpu",
) -> Ignited:
    """Train the backbone `arch` as a classifier, judge it on val, and leave it at `weights`.

    Args:
      weights_from: a detector whose backbone has the same blocks and copies; with another stem, the stem starts fresh.
        None to start from scratch.
      checkpoint: a file to go on from, if it is of the same work, and to write now and then.
    Raises: UsageError when the detector's backbone is another one; IntegrityError when its file is; Diverged.
    """
    began = time.monotonic()
    classifier = start(arch, weights_from=weights_from, classes=len(data.classes), seed=seed).to(device)
    source = weights_from.sha256 if weights_from else "scratch"
    settled = msgspec.json.encode(settings).decode()
    name = f"reignite:{arch.text}:{source}:{data.fingerprint}:{data.train.side}:{steps}:{seed}:{settled}"
    key = TrainKey(seed, 0, name)
    train_classifier(classifier, data.train, settings, steps=steps, key=key, checkpoint=checkpoint, on_step=on_step)
    metrics = judge(classifier, eval_squares(data.val, batch_size=EVAL_BATCH))
    backbone = classifier.backbone
    config = ClassifierConfig(
        arch=arch.text,
        projections=tuple(sorted(backbone.projections)),
        tied=backbone.tied,
        classes=data.classes,
        side=data.train.side,
        metrics=metrics,
    )
    return Ignited(
        metrics=metrics,
        sha256=save_classifier(weights, classifier, config),
        params=sum(p.numel() for p in classifier.parameters()),
        seconds=time.monotonic() - began,
    )


def start(arch: Arch, *, weights_from: WeightsFile | None, classes: int, seed: int) -> PictureClassifier:
    """Build the classifier as it begins: fresh weights that depend on `seed` alone, the detector's in their place.

    Projections that the detector kept by descent are kept here, too.
    Raises: UsageError when the detector's backbone differs from `arch` by more than its stem; IntegrityError.
    """
    old = None
    if weights_from is not None:
        detector, _ = load_model(weights_from.path, digest=weights_from.sha256)
        old = cast(Backbone, detector.backbone)
        if msgspec.structs.replace(old.arch, stem=arch.stem) != arch:
            raise UsageError(
                f"{weights_from.path}: its backbone is {old.arch.text!r}, not {arch.text!r}; only the stem may differ"
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "init"))
        projections, tied = (old.projections, old.tied) if old is not None else (frozenset[int](), False)
        classifier = PictureClassifier(Backbone(arch, projections=projections, tied=tied), classes=classes)
    if old is not None:
        same_stem = old.arch.stem == arch.stem
        kept = {name: v for name, v in old.state_dict().items() if same_stem or not name.startswith("stem.")}
        classifier.backbone.load_state_dict(kept, strict=False)
    return classifier


def ignited_backbone(path: Path, sha256: str) -> Backbone:
    """Return the backbone of the classifier at `path`, to start a detector from.

    Raises: IntegrityError when the file is not the one of this hash; UsageError when it is no classifier of ours.
    """
    classifier, _ = load_classifier(path, digest=sha256)
    return classifier.backbone
