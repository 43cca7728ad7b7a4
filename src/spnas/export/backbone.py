"""A backbone that leaves the house: one Python file that needs torch only, and its weights beside it.

The file is `spnas.export.standalone` with its data replaced, so what is exported is what type checker and tests see.
Nothing is handed over before another process has run it and found the same bits as ours.
"""

import copy
import inspect
import itertools
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save
from torch import Tensor

from spnas.errors import IntegrityError
from spnas.export import standalone
from spnas.nets.backbone import Backbone
from spnas.nets.blocks import block_kind
from spnas.nets.cost import cost
from spnas.rng import torch_seed
from spnas.runs.files import faults_named, sha256, write_atomic

PROBE_SHAPE = (2, 3, 97, 130)  # odd sides: the last row and column of every stage are in play
END_OF_DATA = "# The architecture ends here"
SECONDS = 600

# Runs alone in another process, where no module of ours can lend a hand.
_BEGIN = """
import importlib.util, sys
import torch

module, weights, probe, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
spec = importlib.util.spec_from_file_location("exported", module)
exported = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exported)
given = exported.read_safetensors(probe)
"""
_CHECK = """
with torch.no_grad():
    maps = exported.spnet(weights)(given.pop("images"))
foreign = sorted({"spnas", "safetensors", "torchvision", "timm"} & sys.modules.keys())
if foreign:
    sys.exit(f"the file imported {', '.join(foreign)}")
if len(maps) != len(given):
    sys.exit(f"{len(maps)} outputs instead of {len(given)}")
for stage, found in enumerate(maps):
    wanted = given[str(stage)]
    if not torch.equal(found, wanted):
        drift = (found - wanted).abs().max() if found.shape == wanted.shape else tuple(found.shape)
        sys.exit(f"stage {stage + 1} differs by {drift}")
"""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """Two files, their SHA-256, and the architecture they hold."""

    module: str
    weights: str
    arch: str
    module_sha256: str
    weights_sha256: str


def export_backbone(backbone: Backbone, folder: Path) -> Exported:
    """Write `spnet_<id>.py` and `spnet_<id>.safetensors` into `folder` once their outputs are bit-equal to ours.

    Raises: IntegrityError when another process finds other outputs, and nothing is written then; ResourceError.
    """
    net = copy.deepcopy(backbone).cpu().float().eval()
    name = f"spnet_{net.arch.id}"
    text = source_of(net)
    weights = save({key: value.contiguous() for key, value in net.state_dict().items()}, {"arch": net.arch.text})
    run_apart(text, weights, probe_of(net), _CHECK, name=name)
    return hand_over(text, weights, folder, name=name, arch=net.arch.text)


@torch.no_grad()
def probe_of(net: Backbone) -> dict[str, Tensor]:
    """Return random pictures, and what a backbone makes of them, by number."""
    rng = torch.Generator().manual_seed(torch_seed(0, "export"))
    images = torch.randn(PROBE_SHAPE, generator=rng)
    return {"images": images} | {str(stage): found.contiguous() for stage, found in enumerate(net(images))}


def run_apart(text: str, weights: bytes, probe: dict[str, Tensor], check: str, *, name: str) -> None:
    """Run a file on `probe` in a process of its own, and there a check of what it says.

    check: Python that knows `exported`, the path of the `weights`, and the probe as `given`; it exits with a reason.

    Raises: IntegrityError when it does.
    """
    with tempfile.TemporaryDirectory() as desk, faults_named(Path(desk)):
        files = [Path(desk, f"{name}.py"), Path(desk, f"{name}.safetensors"), Path(desk, "probe.safetensors")]
        for file, content in zip(files, (text.encode(), weights, save(probe)), strict=True):
            file.write_bytes(content)
        arguments = [*map(str, files), str(torch.get_num_threads())]
        done = subprocess.run(
            [sys.executable, "-I", "-c", _BEGIN + check, *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=desk,
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise IntegrityError(
            f"{name}.py: the exported file does not do what the net does ({reason}); nothing was written, "
            "please report the architecture"
        )


def hand_over(text: str, weights: bytes, folder: Path, *, name: str, arch: str) -> Exported:
    """Write a module and its weights, which were found to be right, into `folder`."""
    with faults_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    module_file, weights_file = folder / f"{name}.py", folder / f"{name}.safetensors"
    write_atomic(weights_file, weights)
    write_atomic(module_file, text.encode())
    return Exported(
        module=str(module_file),
        weights=str(weights_file),
        arch=arch,
        module_sha256=sha256(module_file),
        weights_sha256=sha256(weights_file),
    )


def source_of(net: Backbone) -> str:
    """Return the text of the file: head and data of `net`, then `standalone` as it is."""
    program = inspect.getsource(standalone)
    imports = program[program.index("import json") : program.index("# How the blocks look")]
    rest = program[program.index(END_OF_DATA) :]
    return f'# SPDX-License-Identifier: Apache-2.0\n"""{_head(net)}"""\n\n{imports}{_data(net)}\n{rest}'


def _head(net: Backbone) -> str:
    arch, spent = net.arch, cost(net.arch, projections=net.projections, tied=net.tied)
    outputs = ", ".join(f"{c} at {s}" for c, s in zip(net.channels, net.strides, strict=True))
    return f"""A backbone in one file that needs nothing but torch: spnet_{arch.id}.

{textwrap.fill(arch.text, 100)}

{spent.gmacs:.2f} GMAC at 224x224, {spent.params / 1e6:.1f}M parameters.
Channels of the outputs at their strides: {outputs}.
Input: RGB in 0..1, minus (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225).

    net = spnet("spnet_{arch.id}.safetensors")
    maps = net(images)
"""


def _data(net: Backbone) -> str:
    """Write the constants of the file, with the comments that stand in `standalone`."""
    program = inspect.getsource(standalone)
    comments = re.findall(
        r"^# (?:How|\"pool\"|Runs|Blocks|Parallel).*$", program[: program.index(END_OF_DATA)], re.MULTILINE
    )
    rows = "".join(f"    {row},\n" for row in convolutions(net.arch.block))
    stages = "".join(f"    {_runs(stage)},\n" for stage in net.arch.stages)
    kept = tuple(sorted(net.projections))
    return f"""{comments[0]}
CONVOLUTIONS: tuple[tuple[int, int, int, bool], ...] = (
{rows})

{comments[1]}
STEM = "{net.arch.stem}"

{comments[2]}
STAGES: tuple[tuple[tuple[int, int], ...], ...] = (
{stages})

{comments[3]}
PROJECTIONS: tuple[int, ...] = {kept}

{comments[4]}
COPIES: tuple[int, ...] = {net.arch.copies}
TIED = {net.tied}
"""


def _runs(stage: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((width, len(list(run))) for width, run in itertools.groupby(stage))


def convolutions(block: str) -> list[tuple[int, int, int, bool]]:
    """Read off a block kind: (kernel, channels per unit of width, groups, whether it takes the stride) in order."""
    kind = block_kind(block)
    width = 4 * kind.WIDTH_STEP
    with torch.device("meta"):
        made = kind.build(width, width, stride=2, projection=True)
    parts: list[tuple[str, Any]] = sorted(made.named_children())
    convs = [part[0] for name, part in parts if re.fullmatch(r"conv\d", name)]
    return [(c.kernel_size[0], c.out_channels // width, c.groups, c.stride[0] == 2) for c in convs]
