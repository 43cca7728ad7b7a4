"""How a detector is trained; presets per kind of work."""

from typing import Literal

import msgspec

from spnas.train.schedule import Schedule


class TrainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One training. `rate` is the peak learning rate for a whole batch; `clip` bounds the norm of all gradients."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: float = 2e-3
    weight_decay: float = 0.05
    momentum: float = 0.9
    schedule: Schedule = "onecycle"
    warmup: int = 0
    batch_size: int = 8
    clip: float = 10.0
    average: float = 0.998
    precision: Literal["fp32", "bf16"] = "fp32"
    augment: bool = True


PRESETS = {
    # as the paper trains: SGD .02 for 16 pictures, steps at 2/3 and 8/9
    "standard": TrainSettings(
        optimizer="sgd", rate=0.02, weight_decay=1e-4, schedule="steps", warmup=500, batch_size=16, clip=35.0
    ),
    "small": TrainSettings(),
}
