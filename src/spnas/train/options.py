"""What a user can say of a training, as one record: for the command, for configuration files and for code."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from spnas.errors import UsageError
from spnas.shelf import nearest
from spnas.train.schedule import Schedule
from spnas.train.settings import Norm, Precision

LONGEST_HOURS = 1e6


class TrainOptions(msgspec.Struct, frozen=True, kw_only=True):
    """All options of `spnas train` but its architecture, data and folder; what is None is left to the recipe.

    `start` is called `from` by the command and in files.
    """

    steps: Annotated[int, Meta(ge=1, description="Steps; 36 epochs if nothing says how long.")] | None = None
    epochs: Annotated[int, Meta(ge=1, description="Passes over the pictures, instead of steps.")] | None = None
    hours: (
        Annotated[float, Meta(gt=0, le=LONGEST_HOURS, description="Time, instead of steps: a few are timed first.")]
        | None
    ) = None
    recipe: Annotated[str, Meta(description="small (CPUs, small pictures) or standard (800x1333).")] | None = None
    detector: Annotated[str, Meta(description="See 'spnas list detectors'.")] = "faster_rcnn"
    image_size: Annotated[int, Meta(description="Longer side of the network's input, in pixels.")] | None = None
    batch_size: (
        Annotated[
            Annotated[int, Meta(ge=1)] | Literal["auto"],
            Meta(description="Pictures a step; auto: in as few parts as memory holds."),
        ]
        | None
    ) = None
    accumulate: Annotated[int, Meta(ge=1, description="Parts that a batch is taken in.")] | None = None
    precision: Annotated[Precision, Meta(description="fp32, bf16, or fp16 on GPUs.")] | None = None
    optimizer: Annotated[Literal["adamw", "sgd"], Meta(description="adamw or sgd.")] | None = None
    rate: Annotated[float, Meta(gt=0, description="Peak learning rate for a whole batch.")] | None = None
    weight_decay: Annotated[float, Meta(ge=0, description="Of weights; biases and norms have none.")] | None = None
    momentum: Annotated[float, Meta(ge=0, lt=1, description="Of sgd.")] | None = None
    schedule: Annotated[Schedule, Meta(description="onecycle, cosine or steps.")] | None = None
    drops: (
        Annotated[tuple[float, ...], Meta(description="Of steps: the shares of all after which the rate is a tenth.")]
        | None
    ) = None
    warmup: Annotated[int, Meta(ge=0, description="Steps of warm-up, at most a tenth of all.")] | None = None
    clip: Annotated[float, Meta(gt=0, description="Largest norm of all gradients.")] | None = None
    average: (
        Annotated[float, Meta(ge=0, lt=1, description="Decay of the moving average of weights; 0 for none.")] | None
    ) = None
    augment: Annotated[bool, Meta(description="Change pictures at random.")] | None = None
    norm: Annotated[Norm, Meta(description="BN: batch, frozen, or sync between GPUs.")] | None = None
    layer_decay: (
        Annotated[float, Meta(gt=0, le=1, description="Factor on the rate for every block further from the end.")]
        | None
    ) = None
    frozen_stages: (
        Annotated[int, Meta(ge=-1, description="Stages that stand still with the stem; -1: nothing does.")] | None
    ) = None
    sides: (
        Annotated[tuple[int, ...], Meta(description="Side lengths of which each step draws one, as 640,720,800.")]
        | None
    ) = None
    evaluate_epochs: (
        Annotated[int, Meta(ge=0, description="Epochs between evaluations; 0: at the end only.")] | None
    ) = None
    best_by: (
        Annotated[str, Meta(description="Keep the weights best by this metric, as ap or ap50; needs evaluate_epochs.")]
        | None
    ) = None
    patience: (
        Annotated[int, Meta(ge=0, description="Evaluations without gain before the end; needs evaluate_epochs.")] | None
    ) = None
    start: Annotated[str, Meta(description="Model, or file of weights, to start from.")] | None = msgspec.field(
        default=None, name="from"
    )
    seed: Annotated[int, Meta(description="Everything random hangs on it.")] = 0
    threads: Annotated[int, Meta(ge=1, description="torch's threads; its default if not given.")] | None = None
    loader_workers: Annotated[int, Meta(ge=0, description="Threads that read pictures ahead.")] = 0
    checkpoint_seconds: Annotated[float, Meta(ge=0, description="Seconds between checkpoints.")] = 30.0
    tensorboard: Annotated[bool, Meta(description="Write for TensorBoard as well.")] = False


class Option(msgspec.Struct, frozen=True):
    """One of them: the field's name, what users call it, its type but for None, and what is known of its values."""

    field: str
    name: str
    kind: Any
    meta: Meta
    default: Any


def _options() -> dict[str, Option]:
    hints = get_type_hints(TrainOptions, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(TrainOptions):
        hint = hints[field.name]
        noted = hint if hasattr(hint, "__metadata__") else next(a for a in get_args(hint) if a is not type(None))
        option = Option(field.name, field.encode_name, get_args(noted)[0], noted.__metadata__[0], field.default)
        found[option.name] = option
    return found


_LISTS = (tuple[int, ...], tuple[float, ...])
OPTIONS: dict[str, Option] = _options()  # by the names that users know


def options_of(given: Mapping[str, Any], *, source: Mapping[str, str] | None = None) -> TrainOptions:
    """Return the options that `given` names; numbers may be written as text.

    source: where each was said, for messages; else it was an option of the command.

    Raises: UsageError naming the place, the value and what was expected.
    """
    said = dict(source or {})
    values: dict[str, Any] = {}
    for name, value in given.items():
        where = said.get(name, f"--{name.replace('_', '-')}")
        if name not in OPTIONS:
            raise UsageError(f"{where}: there is no option {name!r}; {nearest(name, list(OPTIONS))}")
        option = OPTIONS[name]
        if value is None:
            continue
        try:
            read = _listed(value) if option.kind in _LISTS else value
            meant = msgspec.convert(read, Annotated[option.kind, option.meta], strict=False)
        except msgspec.ValidationError as fault:
            if get_origin(option.kind) is Literal:
                raise UsageError(f"{where} {value!r}: {nearest(str(value), [*get_args(option.kind)])}") from None
            raise UsageError(f"{where} {value!r}: {str(fault)[0].lower()}{str(fault)[1:]}") from None
        if not all(math.isfinite(n) for n in (meant if isinstance(meant, tuple) else (meant,)) if isinstance(n, float)):
            raise UsageError(f"{where} {value!r}: expected a finite number")
        values[option.field] = meant
    return TrainOptions(**values)


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return [value] if isinstance(value, int | float) else value
