"""One candidate, whole: build, inherit, train, evaluate."""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import torch
from torch import nn

from spnas.arch import Candidate, Outcome
from spnas.arch.move import origins
from spnas.data.batches import Pictures, Resize, eval_batches, train_batch
from spnas.data.records import Annotations
from spnas.data.transforms import MILD
from spnas.evaluate.detect import detect
from spnas.evaluate.metrics.coco import score
from spnas.morph import inherit, kept_projections
from spnas.nets.backbone import Backbone
from spnas.nets.cost import cost
from spnas.nets.settings import DetectorSettings
from spnas.train.loop import TrainKey, train
from spnas.train.settings import TrainSettings
from spnas.train.weights import ModelConfig, build, load_model, save_model

EVAL_BATCH = 16
CHILD_RATE = 0.5  # inherited weights are trained on at this share of the peak rate


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How every candidate of a study is trained and judged."""

    detector: str
    detector_settings: DetectorSettings
    train_settings: TrainSettings
    resize: Resize
    device: str = "cpu"


class Materials(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures of a study: search candidates learn from `train` and are judged on `search_val`; finalists learn
    from `whole_train`, both parts together, and are judged on `val`, which nothing else looks at."""

    train: Pictures
    search_val: Pictures
    whole_train: Pictures
    val: Pictures


class ParentWeights(msgspec.Struct, frozen=True):
    """Where the weights of a parent lie, and their SHA-256."""

    path: Path
    sha256: str


def input_size(annotations: Annotations, resize: Resize) -> tuple[int, int]:
    """Return the usual height and width of an input, without padding: that of the median picture."""
    middle = sorted(tuple(size) for size in annotations.sizes.tolist())[len(annotations) // 2]
    width, height = resize.target(*middle)
    return height, width


def assess(
    candidate: Candidate,
    recipe: Recipe,
    materials: Materials,
    *,
    parent: ParentWeights | None,
    weights: Path,
    checkpoint: Path | None = None,
    on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> Outcome:
    """Train and judge one candidate, and leave its weights at `weights`.

    Raises: `Diverged` and whatever else goes wrong; the caller turns that into an outcome with a reason.
    """
    began = time.monotonic()
    final = candidate.role in ("final", "rival")
    learn, judged = (materials.whole_train, materials.val) if final else (materials.train, materials.search_val)
    detector, config = start(candidate, recipe, learn, parent)
    settings = recipe.train_settings
    if parent is not None:
        settings = msgspec.structs.replace(settings, rate=settings.rate * CHILD_RATE)
    # a child and its parent's control see the same batches, and so do all finals of one seed
    key = TrainKey(candidate.seed, candidate.parent or 0, f"{candidate.number}:{candidate.arch.id}:{candidate.steps}")
    train(
        detector,
        lambda step: train_batch(
            learn,
            batch_size=settings.batch_size,
            step=step,
            seed=key.seed,
            candidate=key.candidate,
            augment=MILD if settings.augment else None,
        ),
        settings,
        steps=candidate.steps,
        key=key,
        checkpoint=checkpoint,
        on_step=on_step,
    )
    found = detect(detector, eval_batches(judged, batch_size=EVAL_BATCH))
    scores = score(judged.annotations, found)
    metrics = {name: value for name, value in scores.values.items() if value == value}
    metrics |= {f"ap of {name}": value for name, value in scores.per_class.items() if value == value}
    spent = cost(candidate.arch, *input_size(materials.train.annotations, recipe.resize))
    digest = save_model(weights, detector, msgspec.structs.replace(config, metrics=metrics))
    return Outcome(
        number=candidate.number,
        metrics=metrics,
        judged_on="val" if final else "search-val",
        gmacs=spent.gmacs,
        params=spent.params,
        weights=f"weights/{weights.name}",
        sha256=digest,
        seconds=time.monotonic() - began,
        peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def start(
    candidate: Candidate, recipe: Recipe, learn: Pictures, parent: ParentWeights | None
) -> tuple[nn.Module, ModelConfig]:
    """Build a candidate's detector as it begins: fresh, or with its parent's weights."""
    config = ModelConfig(
        detector=recipe.detector,
        arch=candidate.arch.text,
        classes=learn.annotations.classes,
        category_ids=learn.annotations.category_ids,
        settings=recipe.detector_settings,
        resize=recipe.resize,
    )
    if parent is None:
        return build(config, seed=candidate.seed).to(recipe.device), config
    old, _ = load_model(parent.path, digest=parent.sha256)
    backbone = cast(Backbone, old.backbone)
    from_where = origins(backbone.arch, candidate.moves)
    kept = kept_projections(backbone, candidate.arch, from_where)
    config = msgspec.structs.replace(config, projections=tuple(sorted(kept)))
    young = build(config, seed=candidate.seed + candidate.number)
    sample = next(eval_batches(learn, batch_size=EVAL_BATCH)).images
    inherit(young, old, from_where, pictures=sample)
    return young.to(recipe.device), config


def threads(count: int) -> None:
    """Set torch up for training in this process: its threads, and no slow denormal numbers."""
    torch.set_num_threads(count)
    torch.set_flush_denormal(True)
