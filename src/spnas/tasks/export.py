"""`spnas export`: a net that leaves the house."""

import os
from pathlib import Path

import msgspec
import torch

from spnas.arch.published import arch_of
from spnas.errors import UsageError
from spnas.export import Exported
from spnas.export import export_backbone as write
from spnas.hub import read_weights
from spnas.nets.backbone import Backbone
from spnas.nets.foreign import load_foreign
from spnas.rng import torch_seed


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """The files, and whether their weights were trained."""

    files: Exported
    trained: bool


def export_backbone(source: str | Path, *, out: str | Path) -> ExportResult:
    """Write a backbone as one Python file that needs torch only, and a safetensors file beside it.

    Args:
        source: a folder or file of ours, or an architecture, which then goes out with fresh weights.

    Raises: UsageError, ResourceError; IntegrityError when the written file does not give our outputs, bit for bit.
    """
    if os.path.exists(source):  # a long notation is no path, which Path.exists would raise about
        return ExportResult(files=write(_trained(Path(source)), Path(out)), trained=True)
    try:
        arch = arch_of(str(source))
    except UsageError as fault:
        raise UsageError(f"{fault} (nor is there a file or folder of that name)") from None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(0, "init"))
        net = Backbone(arch)
    return ExportResult(files=write(net, Path(out)), trained=False)


def _trained(path: Path) -> Backbone:
    given = read_weights(path)
    if given.arch is None:
        raise UsageError(
            f"{path}: does not say which architecture it belongs to; load it with "
            "spnas.create_model(NAME, pretrained_path=...), save_pretrained it, and export that folder"
        )
    net = Backbone(given.arch, projections=given.projections, tied=given.tied)
    load_foreign(net, given.tensors, source=str(path))
    return net


def describe(result: ExportResult) -> list[str]:
    """Return what a person reads."""
    files = result.files
    note = "" if result.trained else " (fresh weights: an architecture was given, not a trained model)"
    return [
        f"{files.arch}",
        f"module:  {files.module}",
        f"weights: {files.weights}{note}",
        "outputs are bit-equal to ours, checked in a process of its own",
    ]
