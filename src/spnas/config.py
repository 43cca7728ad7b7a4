"""Options of the rooms, composed into the settings of a study: what it is, once and for all."""

from pathlib import Path

import msgspec
import torch

from spnas.arch import Arch, parse
from spnas.arch.published import arch_of
from spnas.arch.space import around, why_not
from spnas.assess import Recipe, input_size
from spnas.data.batches import Resize
from spnas.data.records import Annotations
from spnas.errors import UsageError
from spnas.nets import settings as nets
from spnas.nets.blocks import block_kind
from spnas.nets.cost import cost
from spnas.search.budget import Budget
from spnas.search.rival import scaled_resnet
from spnas.search.settings import Plan, SearchSettings
from spnas.train import settings as training

SEARCH_VAL_SHARE = 0.2
ROOT_SHARE_OF_BUDGET = 0.6
BUDGET_OVER_ROOT = 2.0
DEFAULT_BLOCK = {"small": "basic", "standard": "bottleneck"}
BASE_WIDTH = {"small": 16, "standard": 64}
CPU_IMAGE_SIZE = 320
QUICK = Plan(candidates=10, root_steps=600, child_steps=60, final_steps=800, finalists=1, seeds=2)


class DataChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Where the data is and how it is read; `path` None is the generated set."""

    path: str | None = None
    format: str | None = None
    train: str | None = None
    val: str | None = None
    max_bad: float = 0.01


class StudySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A study; the same settings and the same data give the same ledger."""

    schema: int = 1
    data: DataChoice
    fingerprint: str
    preset: str
    recipe: Recipe
    search: SearchSettings
    search_val_share: float = SEARCH_VAL_SHARE


def preset_for(name: str | None) -> str:
    """Return the preset asked for, or the one that suits this machine. Raises: UsageError for an unknown one."""
    name = name or ("standard" if torch.cuda.is_available() else "small")
    if name not in nets.PRESETS:
        raise UsageError(f"--preset {name!r}: choose one of {', '.join(nets.PRESETS)}")
    return name


def resize_for(preset: str, image_size: int | None, annotations: Annotations) -> Resize:
    """Return how pictures are resized: as asked, else 800x1333 in `standard`, else to at most 320 px."""
    if image_size is not None:
        if not 32 <= image_size <= 4096:
            raise UsageError(f"--image-size {image_size}: give the longer side in pixels, 32 to 4096")
        return Resize(None, image_size)
    if preset == "standard":
        return Resize(800, 1333)
    return Resize(None, min(CPU_IMAGE_SIZE, int(annotations.sizes.max())))


def recipe_for(preset: str, resize: Resize, *, batch_size: int | None = None, detector: str = "faster_rcnn") -> Recipe:
    """Return how detectors are trained and judged under a preset."""
    cuda = torch.cuda.is_available()
    train_settings = msgspec.structs.replace(training.PRESETS[preset], precision="bf16" if cuda else "fp32")
    if batch_size is not None:
        train_settings = msgspec.structs.replace(train_settings, batch_size=batch_size)
    return Recipe(
        detector=detector,
        detector_settings=nets.PRESETS[preset],
        train_settings=train_settings,
        resize=resize,
        device="cuda" if cuda else "cpu",
    )


def search_settings(
    *, preset: str, size: tuple[int, int], budget: Budget | None, root: str | None, plan: Plan, seed: int
) -> SearchSettings:
    """Settle where a search begins and what it may cost; `size` is the input's height and width in pixels.

    Raises: UsageError when the root is over the budget, or no net is as small as that.
    """
    arch = arch_of(root) if root else default_root(preset, size, budget)
    spent = cost(arch, *size)
    if budget is None:
        budget = Budget(gmacs=BUDGET_OVER_ROOT * spent.gmacs)
    if budget.exceeded(spent.gmacs, spent.params):
        raise UsageError(
            f"the root {arch.text!r} costs {spent.gmacs:.3g} GMAC and {spent.params / 1e6:.3g}M params at "
            f"{size[1]}x{size[0]}, more than --budget {budget}; raise the budget or give a smaller --root"
        )
    space = around(arch)
    if reason := why_not(arch, space):
        raise UsageError(f"the root {arch.text!r} cannot be searched from: {reason}")
    return SearchSettings(root=arch, space=space, budget=budget, plan=plan, seed=seed)


def default_root(preset: str, size: tuple[int, int], budget: Budget | None) -> Arch:
    """Return a ResNet at about 60 % of the budget, or a plain small one where there is no budget."""
    block, width = DEFAULT_BLOCK[preset], BASE_WIDTH[preset]
    if budget is None:
        return parse({"small": "basic: 16x2 / 32x2 / 64x2 / 128x2", "standard": "r_111-2111-211111-211"}[preset])
    if budget.gmacs is not None:
        return equal_cost_resnet(block, ROOT_SHARE_OF_BUDGET * budget.gmacs, size, width)
    assert budget.params is not None
    share = ROOT_SHARE_OF_BUDGET * budget.params
    return scaled_resnet(block, target=share, measure=lambda arch: cost(arch, *size).params, width=width)


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


def size_of(annotations: Annotations, resize: Resize) -> tuple[int, int]:
    """Return the height and width at which costs of a study are counted."""
    return input_size(annotations, resize)


def data_name(choice: DataChoice) -> str:
    """Return a short name for a data set: of its folder, or `shapes` for the generated one."""
    return Path(choice.path).name if choice.path else "shapes"
