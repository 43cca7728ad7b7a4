"""`spnas export`: a net that leaves the house."""

import os
from pathlib import Path
from typing import get_args

import msgspec
import torch

from spnas.arch.published import arch_of
from spnas.data.choice import DataChoice, choice_of
from spnas.errors import UsageError
from spnas.export.backbone import Exported
from spnas.export.backbone import export_backbone as write
from spnas.export.description import Precision
from spnas.export.detector import export_detector as write_detector
from spnas.hub import read_weights
from spnas.nets.backbone import Backbone
from spnas.nets.foreign import load_foreign
from spnas.rng import torch_seed
from spnas.shelf import nearest
from spnas.talk import Talk
from spnas.tasks.export_onnx import OnnxResult, describe_onnx, export_onnx
from spnas.tasks.start import load_detector, refuse_onnx


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """The files, and whether their weights were trained."""

    files: Exported
    trained: bool


FORMS = ("onnx", "module", "backbone")


def export(
    source: str | Path,
    *,
    to: str = "onnx",
    out: str | Path,
    data: str | Path | DataChoice | None = None,
    image_size: int | None = None,
    precision: str = "fp32",
    max_ap_loss: float | None = None,
    talk: Talk | None = None,
) -> "OnnxResult | ExportResult":
    """Write a model in a form that others read, and only if it does what the model does.

    Args:
      source: a folder or file of ours, or for "backbone", an architecture as well.
      to: "onnx", a detector for onnxruntime and others; "module", one as a Python file that needs torch and
        torchvision only, with its weights; "backbone", that of one, for torch only.
      out: a file that ends in .onnx, or a folder.
      data: val of it is what an ONNX file is judged on; generated pictures without AP if not given.
      image_size: longer side of pictures in an ONNX file, if not as in training.
      precision: "fp32"; "fp16" and "int8" are judged by their AP, of which they may lose `max_ap_loss`.

    Raises: UsageError, DataError, ResourceError; IntegrityError when what was written does something else, and nothing
    is left of it then.
    """
    if to not in FORMS:
        raise UsageError(f"--to {to!r}: {nearest(to, FORMS)}")
    if to == "onnx":
        if precision not in get_args(Precision):
            raise UsageError(f"--precision {precision!r}: {nearest(precision, get_args(Precision))}")
        if image_size is not None and not 32 <= image_size <= 4096:
            raise UsageError(f"--image-size {image_size}: give the longer side in pixels, 32 to 4096")
        return export_onnx(
            Path(source),
            out=Path(out),
            choice=choice_of(data),
            image_size=image_size,
            precision=precision,  # type: ignore[arg-type]  # it is one of them
            max_ap_loss=max_ap_loss,
            talk=talk or Talk(quiet=True),
        )
    if choice_of(data).path is not None or image_size is not None or precision != "fp32" or max_ap_loss is not None:
        raise UsageError(f"--data, --image-size, --precision and --max-ap-loss are for --to onnx, not --to {to}")
    return export_backbone(source, out=out) if to == "backbone" else export_module(source, out=out)


def export_module(source: str | Path, *, out: str | Path) -> ExportResult:
    """Write a trained detector as one Python file that needs torch and torchvision only, and a safetensors file.

    Raises: UsageError, ResourceError; IntegrityError when the written file does not find what ours does, bit for bit.
    """
    detector, config = load_detector(Path(source))
    files = write_detector(
        detector,
        Path(out),
        kind=config.detector,
        classes=config.classes,
        category_ids=config.category_ids,
        resize=(config.resize.short, config.resize.long),
    )
    return ExportResult(files=files, trained=True)


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
    refuse_onnx(path)
    given = read_weights(path)
    if given.arch is None:
        raise UsageError(
            f"{path}: does not say which architecture it belongs to; load it with "
            "spnas.create_model(NAME, pretrained_path=...), save_pretrained it, and export that folder"
        )
    net = Backbone(given.arch, projections=given.projections, tied=given.tied)
    load_foreign(net, given.tensors, source=str(path))
    return net


def describe(result: ExportResult | OnnxResult) -> list[str]:
    """Return what a person reads."""
    if isinstance(result, OnnxResult):
        return describe_onnx(result)
    files = result.files
    note = "" if result.trained else " (fresh weights: an architecture was given, not a trained model)"
    return [
        f"{files.arch}",
        f"module:  {files.module}",
        f"weights: {files.weights}{note}",
        "outputs are bit-equal to ours, checked in a process of its own",
    ]
