"""Options of the rooms, composed into the settings of a study: what it is, once and for all."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import torch

from spnas.arch import Arch, parse
from spnas.arch.published import arch_of
from spnas.arch.space import around, why_not
from spnas.assess import Recipe
from spnas.data.batches import Resize
from spnas.data.choice import DataChoice
from spnas.data.crops import object_crops
from spnas.data.folders import open_folders
from spnas.data.labelled import LabelledSet
from spnas.data.records import Annotations
from spnas.errors import DataError, UsageError
from spnas.latency import LatencyTable
from spnas.nets import settings as nets
from spnas.nets.blocks import block_kind
from spnas.nets.cost import cost
from spnas.nets.memory import activation_mib
from spnas.search.budget import Budget, CostOf, Spent
from spnas.search.objective import BEYOND, Against, Objective, check_against, check_metric
from spnas.search.rival import matched, scaled_resnet
from spnas.search.rules import rules_of
from spnas.search.settings import LAG, PHASES, RELEASED_PHASES, USUAL_PHASES, Plan, SearchSettings
from spnas.shelf import nearest
from spnas.train import settings as training
from spnas.train.classify import CLASSIFY
from spnas.train.settings import TrainSettings

SEARCH_VAL_SHARE = 0.2
ROOT_SHARE_OF_BUDGET = 0.6
BUDGET_OVER_ROOT = 2.0
DEFAULT_BLOCK = {"small": "basic", "standard": "bottleneck"}
DEFAULT_ROOT = {"small": "basic: 16x2 / 32x2 / 64x2 / 128x2", "standard": "r_111-2111-211111-211"}
BASE_WIDTH = {"small": 16, "standard": 64}
CPU_IMAGE_SIZE = 320
QUICK = Plan(candidates=10, root_steps=600, child_steps=60, final_steps=800, finalists=1, seeds=2)
START = "start.safetensors"


class Ignition(msgspec.Struct, frozen=True, kw_only=True):
    """How a study re-ignites: labelled pictures of `side` pixels from an image folder, or with no `path` crops of the
    study's own objects; `fingerprint` is the folder's."""

    path: str | None = None
    fingerprint: str | None = None
    side: int = 64
    train_settings: TrainSettings = CLASSIFY

    @property
    def name(self) -> str:
        """What the classifier is judged on, in words."""
        return f"val of {Path(self.path).name}" if self.path else "crops of objects"


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a user says about how much is to be trained; None leaves it to us.

    hours: for the whole; not kept with a study, which may be given more of them.
    """

    hours: float | None = None
    candidates: int | None = None
    copies: int | None = None
    steps: int | None = None
    ignite_steps: int | None = None
    seeds: int | None = None
    stuck: int | None = None


class StudySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A study; the same settings and the same data give the same ledger.

    latency: what milliseconds are told from, where the budget is in milliseconds.
    start: SHA-256 of the weights that the root begins with, a copy of which is `START` in the study's folder;
        start_source, that of the file they came from.
    """

    schema: int = 3
    data: DataChoice
    fingerprint: str
    recipe_name: str
    recipe: Recipe
    search: SearchSettings
    search_val_share: float = SEARCH_VAL_SHARE
    latency: LatencyTable | None = None
    wishes: Wishes = Wishes()
    ignition: Ignition = Ignition()
    start: str | None = None
    start_source: str | None = None


def labelled_for(learned: Annotations, ignition: Ignition, fingerprint: str) -> LabelledSet:
    """Open the labelled pictures of a study's re-ignitions. Raises: DataError, also when they are not those of then.

    learned: what the study's candidates learn from. fingerprint: of its data.
    """
    if ignition.path is None:
        return object_crops(learned, fingerprint=fingerprint)
    opened = open_folders(Path(ignition.path))
    if ignition.fingerprint not in (None, opened.fingerprint):
        raise DataError(
            ignition.path, "", "data-changed", "is not what it was when the study began", "restore it, or begin anew"
        )
    return opened


def recipe_name_for(name: str | None) -> str:
    """Return the recipe asked for, or the one that suits this machine. Raises: UsageError for an unknown one."""
    name = name or ("standard" if torch.cuda.is_available() else "small")
    if name not in nets.PRESETS:
        raise UsageError(f"--recipe {name!r}: choose one of {', '.join(nets.PRESETS)}")
    return name


def resize_for(recipe_name: str, image_size: int | None, annotations: Annotations) -> Resize:
    """Return how pictures are resized: as asked, else 800x1333 in `standard`, else to at most 320 px."""
    if image_size is not None:
        if not 32 <= image_size <= 4096:
            raise UsageError(f"--image-size {image_size}: give the longer side in pixels, 32 to 4096")
        return Resize(None, image_size)
    if recipe_name == "standard":
        return Resize(800, 1333)
    return Resize(None, min(CPU_IMAGE_SIZE, int(annotations.sizes.max())))


def recipe_for(name: str, resize: Resize, *, batch_size: int | None = None, detector: str = "faster_rcnn") -> Recipe:
    """Return how detectors are trained and judged under a recipe of this name."""
    cuda = torch.cuda.is_available()
    train_settings = msgspec.structs.replace(training.PRESETS[name], precision="bf16" if cuda else "fp32")
    if batch_size is not None:
        train_settings = msgspec.structs.replace(train_settings, batch_size=batch_size)
    return Recipe(
        detector=detector,
        detector_settings=nets.PRESETS[name],
        train_settings=train_settings,
        resize=resize,
        device="cuda" if cuda else "cpu",
    )


def spend(
    arch: Arch,
    *,
    size: tuple[int, int],
    milliseconds: Callable[[Arch], float] | None = None,
    memory: bool = False,
) -> Spent:
    """Return what `arch` costs at this height and width in pixels; time by `milliseconds`, memory when asked for."""
    counted = cost(arch, *size)
    return Spent(
        gmacs=counted.gmacs,
        params=counted.params,
        milliseconds=milliseconds(arch) if milliseconds else None,
        mib=activation_mib(arch, *size) if memory else None,
    )


def search_settings(
    *,
    recipe_name: str,
    size: tuple[int, int],
    budget: Budget | None,
    root: str | None,
    plan: Plan,
    seed: int,
    time: Callable[[Arch], float] | None = None,
    preset: str = "plus",
    without: tuple[str, ...] = (),
    phases: tuple[str, ...] = USUAL_PHASES,
    metric: str = "ap",
    against: str | None = None,
    lag: int = LAG,
) -> SearchSettings:
    """Settle where a search begins and what it may cost; `size` is the input's height and width in pixels.

    time: of a whole net in milliseconds, wanted when the budget is in milliseconds.

    Raises: UsageError when the root is over the budget, or no net is as small as that.
    """
    memory = (budget is not None and budget.mib is not None) or against == "mib"
    cost_of: CostOf = partial(spend, size=size, milliseconds=time, memory=memory)
    arch = arch_of(root) if root else default_root(recipe_name, size, budget, cost_of)
    if arch.copies and budget is not None and budget.milliseconds is not None:
        raise UsageError(f"--root {root}: a budget in milliseconds is for nets without copies; bound GMACs")
    spent = cost_of(arch)
    if budget is None:
        budget = Budget(gmacs=BUDGET_OVER_ROOT * spent.gmacs)
    if budget.exceeded(spent):
        raise UsageError(
            f"the root {arch.text!r} costs {spent} at {size[1]}x{size[0]}, more than --budget {budget}; "
            "raise the budget or give a smaller --root"
        )
    space = around(arch)
    if reason := why_not(arch, space):
        raise UsageError(f"the root {arch.text!r} cannot be searched from: {reason}")
    chosen = check_against(against) if against else _weighed(budget)
    bound = getattr(budget, chosen)
    reference = float(bound if bound is not None else BEYOND * (getattr(spent, chosen) or 1.0))
    return SearchSettings(
        root=arch,
        space=space,
        budget=budget,
        plan=plan,
        preset=preset,
        rules=rules_of(preset, without),
        phases=phases,
        objective=Objective(metric=check_metric(metric), against=chosen, reference=reference),
        seed=seed,
        lag=lag,
    )


def _weighed(budget: Budget) -> Against:
    """Return the cost that a front is drawn against: what the budget bounds, GMACs where that is among it."""
    bounds: tuple[Against, ...] = ("gmacs", "milliseconds", "mib", "params")
    return next(name for name in bounds if getattr(budget, name) is not None)


def check_phases(
    names: tuple[str, ...] | None, preset: str, budget: Budget | None = None, against: str | None = None
) -> tuple[str, ...]:
    """Return phases in the order in which they run, the usual ones for None.

    Raises: UsageError for an unknown one, and where copies or another stem would have to be timed, as no latency table
    can.
    """
    released = rules_of(preset).released
    timed = budget is not None and budget.milliseconds is not None
    if against == "ms" and not timed:
        raise UsageError("--against ms needs a budget in milliseconds too, e.g. --budget 12ms")
    if timed and released:
        raise UsageError(f"--preset {preset} draws copies, which a budget in milliseconds cannot bound; bound GMACs")
    if names is None:
        return RELEASED_PHASES if released else tuple(n for n in USUAL_PHASES if n != "parallel" or not timed)
    if timed and "parallel" in names:
        raise UsageError("--phases parallel: a budget in milliseconds is for serial nets; bound GMACs, or leave it out")
    if timed and "reignite" in names:
        raise UsageError(
            "--phases reignite: it changes the stem, and a budget in milliseconds knows the root's only; bound GMACs, "
            "or leave it out"
        )
    if released and "reignite" in names:
        raise UsageError(f"--phases reignite: --preset {preset} never re-ignites; leave it out")
    for name in names:
        if name not in PHASES:
            raise UsageError(f"--phases {name!r}: {nearest(name, PHASES)}")
    if not names:
        raise UsageError(f"--phases: name at least one of {', '.join(PHASES)}")
    return tuple(name for name in PHASES if name in names)


def default_root(recipe_name: str, size: tuple[int, int], budget: Budget | None, cost_of: CostOf) -> Arch:
    """Return a ResNet at about 60 % of the budget, or a plain small one where there is no budget."""
    block, width = DEFAULT_BLOCK[recipe_name], BASE_WIDTH[recipe_name]
    plain = parse(DEFAULT_ROOT[recipe_name])
    if budget is None:
        return plain

    def share(arch: Arch) -> float:
        return budget.share(cost_of(arch))

    if budget.milliseconds is None:
        step = block_kind(block).WIDTH_STEP
        return scaled_resnet(block, target=ROOT_SHARE_OF_BUDGET, measure=share, width=width, width_step=step)
    return matched(
        ROOT_SHARE_OF_BUDGET,
        scaled=lambda gmacs: equal_cost_resnet(block, gmacs, size, width),
        measure=share,
        start=cost(plain, *size).gmacs,
    )


def equal_cost_resnet(block: str, gmacs: float, size: tuple[int, int], width: int, stem: str = "pool") -> Arch:
    """Return the uniformly scaled ResNet of this cost."""
    return scaled_resnet(
        block,
        target=gmacs,
        measure=lambda arch: cost(arch, *size).gmacs,
        width=width,
        width_step=block_kind(block).WIDTH_STEP,
        stem=stem,
    )


def rival_of(arch: Arch, size: tuple[int, int], width: int, time: Callable[[Arch], float] | None = None) -> Arch:
    """Return the uniformly scaled ResNet that costs as many GMACs as `arch`, or with `time` as many milliseconds."""
    gmacs = cost(arch, *size).gmacs

    def scaled(target: float) -> Arch:
        return equal_cost_resnet(arch.block, target, size, width, arch.stem)

    return scaled(gmacs) if time is None else matched(time(arch), scaled=scaled, measure=time, start=gmacs)


def data_name(choice: DataChoice) -> str:
    """Return a short name for a data set: of its folder, or `shapes` for the generated one."""
    return Path(choice.path).name if choice.path else "shapes"
