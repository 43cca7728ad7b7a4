"""How a detector is trained; presets per kind of work."""

from typing import Literal

import msgspec

from spnas.errors import UsageError
from spnas.train.schedule import Schedule

Precision = Literal["fp32", "bf16", "fp16"]
Norm = Literal["batch", "frozen", "sync"]


class TrainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One training. `rate` is the peak learning rate for a whole batch; `clip` bounds the norm of all gradients.

    drops: shares of all steps after which the rate of the schedule "steps" is divided by ten; none for 2/3 and 8/9.
    accumulate: parts that a batch is taken in, one after the other; the pictures of a step stay `batch_size`.
    norm: of BN; "frozen" keeps its statistics, scale and shift as they are, "sync" shares statistics between GPUs.
    layer_decay: what the rate of each block, and of the stem, is multiplied by per block between it and the end.
    frozen_stages: so many stages, and the stem before them, are not trained; 0 freezes the stem alone, -1 nothing.
    sides: lengths in pixels, one drawn for each step: of the short side where the input has one, else of the long one.
    evaluate_epochs: epochs between evaluations on val during the training; 0 for none.
    best_by: metric by which the best weights are kept; None keeps the last ones.
    patience: evaluations without a better one after which a training ends; 0 for all of its steps.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: float = 2e-3
    weight_decay: float = 0.05
    momentum: float = 0.9
    schedule: Schedule = "onecycle"
    warmup: int = 0
    drops: tuple[float, ...] = ()
    batch_size: int = 8
    clip: float = 10.0
    average: float = 0.998
    precision: Precision = "fp32"
    augment: bool = True
    accumulate: int = 1
    norm: Norm = "batch"
    layer_decay: float = 1.0
    frozen_stages: int = -1
    sides: tuple[int, ...] = ()
    evaluate_epochs: int = 0
    best_by: str | None = None
    patience: int = 0


PRESETS = {
    # as the paper trains: SGD .02 for 16 pictures, steps at 2/3 and 8/9
    "standard": TrainSettings(
        optimizer="sgd", rate=0.02, weight_decay=1e-4, schedule="steps", warmup=500, batch_size=16, clip=35.0
    ),
    "small": TrainSettings(),
}


def is_one_value(pictures: int, *, side: int, stages: int) -> bool:
    """Whether all that BN gets of a channel in the last stage is one value, of which there are no statistics.

    side: the longer one of the input in pixels, with its padding.
    """
    return pictures == 1 and side <= 4 * 2 ** (stages - 1)


def refuse_impossible(settings: TrainSettings, *, device: str, ranks: int, stages: int, side: int) -> None:
    """Make sure that a training can be as it is asked for, on this device and by so many processes.

    side: the longer one of the smallest input in pixels, with its padding.

    Raises: UsageError naming the option.
    """
    if not all(0 < share < 1 for share in settings.drops):
        raise UsageError(f"--drops {', '.join(map(str, settings.drops))}: give shares of the training, between 0 and 1")
    parts = settings.accumulate * ranks
    if settings.batch_size % parts:
        taken = f"{settings.accumulate} parts" + (f" by each of {ranks} processes" if ranks > 1 else "")
        raise UsageError(f"--batch-size {settings.batch_size} cannot be taken in {taken}; give a multiple of {parts}")
    if settings.precision == "fp16" and device != "cuda":
        raise UsageError("--precision fp16 needs a GPU; choose fp32, or bf16")
    if settings.norm == "sync" and ranks > 1 and device != "cuda":
        raise UsageError("--norm sync needs GPUs; choose frozen, or batch")
    counts = settings.norm == "batch" or (settings.norm == "sync" and ranks == 1)
    if counts and is_one_value(settings.batch_size // parts, side=side, stages=stages):
        raise UsageError(
            f"--batch-size {settings.batch_size} in {parts} parts: one picture of {side} px ends as one pixel after "
            f"{stages} stages, too little for BN; give larger pictures, more of them a part, or --norm frozen"
        )
    if settings.frozen_stages >= stages:
        raise UsageError(f"--frozen-stages {settings.frozen_stages}: the net has {stages}; leave one to be trained")
    if (settings.patience or settings.best_by) and not settings.evaluate_epochs:
        what = "--patience" if settings.patience else "--best-by"
        raise UsageError(f"{what} goes by evaluations; say how often with --evaluate-epochs")
