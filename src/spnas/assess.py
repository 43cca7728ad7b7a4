"""One candidate, whole: build, inherit, train, evaluate."""

import math
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
from spnas.evaluate.detect import Found, detect
from spnas.evaluate.metrics import ecp
from spnas.evaluate.metrics.coco import score
from spnas.morph import inherit, kept_projections
from spnas.morph.released import inherit_as_released
from spnas.nets.backbone import Backbone
from spnas.nets.cost import cost
from spnas.nets.settings import DetectorSettings
from spnas.reignite import ignited_backbone
from spnas.runs.files import write_atomic
from spnas.train.loop import TrainKey, step_loss, train
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
    metric: str = "ap",
    as_released: bool = False,
) -> Outcome:
    """Train and judge one candidate, and leave its weights at `weights`.

    Args:
      parent: what it starts from: a detector, or for a root that is a candidate's child, a classifier.
      checkpoint: a file to go on from; where there is none of this training, it begins anew and ends the same.
      metric: what is to be measured besides COCO's numbers: "lamr" or "loss".
      as_released: start children as the authors' release does.
    Raises: `Diverged` and whatever else goes wrong; the caller turns that into an outcome with a reason.
    """
    began = time.monotonic()
    final = candidate.role in ("final", "rival")
    learn, judged = (materials.whole_train, materials.val) if final else (materials.train, materials.search_val)
    detector, config = start(candidate, recipe, learn, parent, as_released=as_released)
    settings = recipe.train_settings
    if parent is not None and not _is_lit(candidate):
        settings = msgspec.structs.replace(settings, rate=settings.rate * CHILD_RATE)
    # a child and its parent's control see the same batches, and so do all finals of one seed
    name = f"{_begun_as(candidate)}:{candidate.arch.id}:{candidate.steps}"
    key = TrainKey(candidate.seed, candidate.parent or 0, name)

    def learn_until(step: int | None) -> None:
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
            until=step,
        )

    early: dict[str, float] = {}
    if candidate.look is not None:

        def look() -> dict[str, float]:
            learn_until(candidate.look)
            return measure(detector, judged, metric)

        early = _looked_at(checkpoint, key, look)
    learn_until(candidate.until)
    metrics = measure(detector, judged, metric)
    spent = cost(candidate.arch, *input_size(materials.train.annotations, recipe.resize))
    digest = None
    if candidate.until is None:  # else nobody starts from it
        digest = save_model(weights, detector, msgspec.structs.replace(config, metrics=metrics))
    return Outcome(
        number=candidate.number,
        metrics=metrics,
        early=early,
        judged_on="val" if final else "search-val",
        gmacs=spent.gmacs,
        params=spent.params,
        weights=f"weights/{weights.name}" if digest else None,
        sha256=digest,
        seconds=time.monotonic() - began,
    )


def measure(detector: nn.Module, judged: Pictures, metric: str = "ap") -> dict[str, float]:
    """Return COCO's numbers and APs of classes, and `metric` if it is none of these; what is not a number is left
    out."""
    found = detect(detector, eval_batches(judged, batch_size=EVAL_BATCH))
    values = numbers_of(judged.annotations, found, metric)
    if metric == "loss" and math.isfinite(loss := _loss(detector, judged)):
        values["loss"] = loss
    return values


def numbers_of(judged: Annotations, found: Found, metric: str) -> dict[str, float]:
    """Return what `measure` does, of detections alone."""
    scores = score(judged, found)
    values = scores.values | {f"ap of {name}": value for name, value in scores.per_class.items()}
    if metric == "lamr":
        rates = ecp.score(judged, found)
        values["lamr"] = rates.values[rates.main]
    return {name: value for name, value in values.items() if math.isfinite(value)}


@torch.no_grad()
def _loss(detector: nn.Module, judged: Pictures) -> float:
    """Return the loss of training, of a whole batch on average, on pictures that are not learned from."""
    total, rng = 0.0, torch.Generator().manual_seed(0)
    for batch in eval_batches(judged, batch_size=EVAL_BATCH):
        terms = step_loss(detector, batch, rng, "fp32")
        total += float(torch.stack(list(terms.values())).sum()) * len(batch.index)
    return total / len(judged)


class _Seen(msgspec.Struct, frozen=True):
    """What a look at a training saw."""

    key: TrainKey
    metrics: dict[str, float]


def _looked_at(checkpoint: Path | None, key: TrainKey, look: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return what `look` sees, or what it saw before an interruption: the training may have gone on since."""
    file = checkpoint.with_name("look.json") if checkpoint is not None else None
    if file is not None and file.exists():
        seen = msgspec.json.decode(file.read_bytes(), type=_Seen)
        if seen.key == key:  # else another training had this number
            return seen.metrics
    metrics = look()
    if file is not None:
        write_atomic(file, msgspec.json.encode(_Seen(key, metrics)))
    return metrics


def _begun_as(candidate: Candidate) -> int:
    """Return the number of the candidate that this training began as."""
    return candidate.number if candidate.continues is None else candidate.continues


def _is_lit(candidate: Candidate) -> bool:
    """Whether it is a root that starts from a classifier."""
    return candidate.role == "root" and candidate.parent is not None


def start(
    candidate: Candidate,
    recipe: Recipe,
    learn: Pictures,
    parent: ParentWeights | None,
    *,
    as_released: bool = False,
) -> tuple[nn.Module, ModelConfig]:
    """Build a candidate's detector as it begins: fresh, or with its parent's weights."""
    config = ModelConfig(
        detector=recipe.detector,
        arch=candidate.arch.text,
        classes=learn.annotations.classes,
        category_ids=learn.annotations.category_ids,
        settings=recipe.detector_settings,
        resize=recipe.resize,
        tied=as_released and bool(candidate.arch.copies),
    )
    if parent is None:
        return build(config, seed=candidate.seed).to(recipe.device), config
    if _is_lit(candidate):
        lit = ignited_backbone(parent.path, parent.sha256)
        config = msgspec.structs.replace(config, projections=tuple(sorted(lit.projections)))
        young = build(config, seed=candidate.seed)
        cast(Backbone, young.backbone).load_state_dict(lit.state_dict())
        return young.to(recipe.device), config
    old, _ = load_model(parent.path, digest=parent.sha256)
    backbone = cast(Backbone, old.backbone)
    from_where = origins(backbone.arch, candidate.moves)
    kept = kept_projections(backbone, candidate.arch, from_where) if not as_released else frozenset[int]()
    config = msgspec.structs.replace(config, projections=tuple(sorted(kept)))
    young = build(config, seed=candidate.seed + _begun_as(candidate))
    if as_released:
        inherit_as_released(cast(Backbone, young.backbone), backbone, from_where)
        return young.to(recipe.device), config
    sample = next(eval_batches(learn, batch_size=EVAL_BATCH)).images
    inherit(young, old, from_where, pictures=sample)
    return young.to(recipe.device), config


def threads(count: int) -> None:
    """Set torch up for training in this process: its threads, and no slow denormal numbers."""
    torch.set_num_threads(count)
    torch.set_flush_denormal(True)
