"""A whole detector that leaves the house: one Python file that needs torch and torchvision only, and its weights.

The file is put together of the definitions that `detect` hangs on, as they stand in `spnas.nets`, and the backbone's
file of `spnas.export.backbone`; what only training needs is left out.
"""

import ast
import copy
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
import torch
from safetensors.torch import save
from torch import Tensor, nn

from spnas.export.backbone import Exported, hand_over, run_apart, source_of
from spnas.nets.backbone import Backbone
from spnas.nets.settings import CascadeStage, DetectorSettings
from spnas.rng import torch_seed

ROOM = "spnas.nets."
OF_TRAINING = {"loss", "_reach"}  # methods that are left behind
OWN = {"DetectorSettings", "CascadeStage", "CodeWeights", "Backbone"}  # names that the file defines by itself
PROBE_SHAPE = (2, 3, 128, 160)
PROBE_SIZES = ((128, 150), (101, 160))
IMPORTS = {
    "itertools": "import itertools",
    "json": "import json",
    "math": "import math",
    "lru_cache": "from functools import lru_cache",
    "Any": "from typing import Any",
    "NamedTuple": "from typing import NamedTuple",
    "torch": "import torch",
    "F": "import torch.nn.functional as F",
    "Tensor": "from torch import Tensor",
    "nn": "from torch import nn",
    "nms": "from torchvision.ops import nms",
    "roi_align": "from torchvision.ops import roi_align",
}

# Runs alone in another process, where no module of ours can lend a hand.
_CHECK = """
net = exported.detector(weights, exported.SETTINGS._replace(score_threshold=0.0))
found = net.detect(given["images"], given["sizes"])
foreign = sorted({"spnas", "safetensors", "timm"} & sys.modules.keys())
if foreign:
    sys.exit(f"the file imported {', '.join(foreign)}")
for name, value in zip(("boxes", "scores", "labels"), found, strict=True):
    if not torch.equal(value, given[name]):
        sys.exit(f"{name} differ")
"""


class Kept(NamedTuple):
    """A definition that the file needs: where it stands, its name there, and its lines."""

    module: ModuleType
    name: str
    text: str


def export_detector(
    detector: nn.Module,
    folder: Path,
    *,
    kind: str,
    classes: tuple[str, ...],
    category_ids: tuple[int | str, ...],
    resize: tuple[int | None, int],
) -> Exported:
    """Write `<kind>_<id>.py` and `<kind>_<id>.safetensors` into `folder` once they find what we find, bit for bit.

    resize: bounds of a picture's shorter and longer side in pixels, which the file mentions only.

    Raises: IntegrityError when another process finds something else, and nothing is written then; ResourceError.
    """
    net = copy.deepcopy(detector).cpu().float().eval()
    backbone = net.backbone
    assert isinstance(backbone, Backbone)
    name = f"{kind}_{backbone.arch.id}"
    data = {"CLASSES": classes, "CATEGORY_IDS": category_ids, "RESIZE": resize}
    text = detector_source(net, name=name, data=data)
    weights = save({k: v.contiguous() for k, v in net.state_dict().items()}, {"arch": backbone.arch.text})
    run_apart(text, weights, probe_of(net), _CHECK, name=name)
    return hand_over(text, weights, folder, name=name, arch=backbone.arch.text)


@torch.no_grad()
def probe_of(net: nn.Module) -> dict[str, Tensor]:
    """Return random pictures and what a detector without a threshold finds in them."""
    net = copy.deepcopy(net)
    for part in net.modules():
        settings = getattr(part, "settings", None)
        if isinstance(settings, DetectorSettings):
            vars(part)["settings"] = msgspec.structs.replace(settings, score_threshold=0.0)
    rng = torch.Generator().manual_seed(torch_seed(0, "export"))
    images, sizes = torch.randn(PROBE_SHAPE, generator=rng), torch.tensor(PROBE_SIZES)
    found = net.detect(images, sizes)  # type: ignore[operator]
    return {"images": images, "sizes": sizes} | {k: v.contiguous() for k, v in found._asdict().items()}


def detector_source(net: nn.Module, *, name: str, data: dict[str, Any]) -> str:
    """Return the text of the file."""
    backbone, kind = net.backbone, type(net)
    assert isinstance(backbone, Backbone)
    settings = net.settings
    assert isinstance(settings, DetectorSettings)
    own = _without_builder(source_of(backbone))
    kept = list(definitions(sys.modules[kind.__module__], kind.__name__))
    body = "\n\n\n".join([_settings(settings), _renamed(kept), _builder(kind.__name__)])
    facts = "".join(f"{key} = {value!r}\n" for key, value in data.items())
    used = {node.id for node in ast.walk(ast.parse(own + "\n" + body)) if isinstance(node, ast.Name)}
    imports = "\n".join(line for key, line in IMPORTS.items() if key in used)
    head = _head(name, backbone)
    return f'# SPDX-License-Identifier: Apache-2.0\n"""{head}"""\n\n{imports}\n\n{facts}\n{own}\n\n\n{body}\n'


def _without_builder(text: str) -> str:
    """Return the file of a backbone from its data on, but for the function that builds it with weights of its own."""
    builder = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == "spnet")
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("# How the blocks look"))
    return "\n".join(lines[start : builder.lineno - 1] + lines[(builder.end_lineno or 0) + 2 :])


def _head(name: str, backbone: Backbone) -> str:
    return f"""A detector in one file that needs nothing but torch and torchvision: {name}.

{textwrap.fill(backbone.arch.text, 100)}

Input: RGB in 0..1, minus (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225), zero-padded at the right and bottom
to multiples of 32; `sizes` are height and width without padding. It learned from pictures whose shorter and longer
side were at most `RESIZE`. `labels` index CLASSES, -1 where a row holds nothing; boxes are x1, y1, x2, y2 in pixels.

    net = detector("{name}.safetensors")
    boxes, scores, labels = net.detect(images, sizes)
"""


def _settings(settings: DetectorSettings) -> str:
    """Write the settings as records of the standard library."""
    stage = "\n".join(f"    {name}: Any" for name in CascadeStage.__struct_fields__)
    rows = "\n".join(f"    {name}: Any = {getattr(settings, name)!r}" for name in settings.__struct_fields__)
    return (
        f'class CascadeStage(NamedTuple):\n    """One stage of a cascade."""\n\n{stage}\n\n\n'
        f'class DetectorSettings(NamedTuple):\n    """Sizes of the detector."""\n\n{rows}\n\n\n'
        "SETTINGS = DetectorSettings()\nCodeWeights = tuple[float, float, float, float]"
    )


def _builder(kind: str) -> str:
    return f'''def detector(weights: str | None = None, settings: DetectorSettings = SETTINGS) -> {kind}:
    """Build the detector; with the path of its .safetensors file, trained and in evaluation mode."""
    net = {kind}(SPNet(), classes=len(CLASSES), settings=settings)
    if weights is not None:
        net.load_state_dict(read_safetensors(weights))
    return net.eval()'''


def definitions(module: ModuleType, name: str, seen: set[tuple[str, str]] | None = None) -> Iterator[Kept]:
    """Yield what `name` of a module of `spnas.nets` hangs on there, and at last itself."""
    seen = set() if seen is None else seen
    if (module.__name__, name) in seen or name in OWN:
        return
    seen.add((module.__name__, name))
    node = _top_level(module, name)
    lines = inspect.getsource(module).splitlines()
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    dropped: set[int] = set()
    if isinstance(node, ast.ClassDef):
        for part in [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name in OF_TRAINING]:
            begins = min([part.lineno, *(d.lineno for d in part.decorator_list)])
            dropped |= set(range(begins - 1, (part.end_lineno or 0) + 1))  # with the empty line before it
        node.body = [n for n in node.body if not (isinstance(n, ast.FunctionDef) and n.name in OF_TRAINING)]
    text = "\n".join(lines[i - 1] for i in range(first, (node.end_lineno or 0) + 1) if i not in dropped)
    for used in ast.walk(node):
        where: ModuleType | None = module
        if isinstance(used, ast.Attribute) and isinstance(used.value, ast.Name):
            where, wanted = getattr(module, used.value.id, None), used.attr
            if not isinstance(where, ModuleType) or not where.__name__.startswith(ROOM):
                continue
        elif isinstance(used, ast.Name):
            wanted = used.id
        else:
            continue
        if place := _home(where, wanted):
            yield from definitions(place, wanted, seen)
    yield Kept(module, name, text)


def _top_level(module: ModuleType, name: str) -> Any:
    """Return the statement in which a module defines `name`."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node
    return None


def _home(module: ModuleType | None, name: str) -> ModuleType | None:
    """Return the module of ours in which the `name` that `module` knows is defined, None for others' names."""
    if module is None or not hasattr(module, name):
        return None
    if _top_level(module, name) is not None:
        return module
    home = sys.modules.get(getattr(getattr(module, name), "__module__", None) or "")
    if home is None or not home.__name__.startswith(ROOM) or _top_level(home, name) is None:
        return None
    return home


def _renamed(kept: list[Kept]) -> str:
    """Join definitions; a name that two modules define becomes another one for the first of them."""
    names = [one.name for one in kept]
    texts = []
    for one in kept:
        text = re.sub(r"\bbx\.", "", one.text)
        text = re.sub(r"\bBackbone\b", "SPNet", text)
        for twice in {n for n in names if names.count(n) > 1}:
            owner = next(k.module for k in kept if k.name == twice)
            if one.module is owner:
                text = re.sub(rf"\b{twice}\b", f"{owner.__name__.rsplit('.', 1)[-1].upper()}_{twice}", text)
        texts.append(text)
    return "\n\n\n".join(texts)
