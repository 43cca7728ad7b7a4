"""Where a training stands, on disk: one safetensors file, replaced atomically, enough to go on bit for bit."""

from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from spnas.errors import IntegrityError
from spnas.runs.files import faults_named, write_atomic
from spnas.runs.seal import seal, why_broken
from spnas.train.average import Average


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What stands beside the tensors: steps done, the key of the training the file belongs to, and the state of the
    scaler of 16-bit gradients, where there is one."""

    step: int
    average_step: int
    key: str
    scaler: dict[str, int | float] = {}


def save_progress(
    path: Path,
    module: nn.Module,
    optimizer: Optimizer,
    average: Average,
    *,
    step: int,
    key: str,
    scaler: GradScaler | None = None,
) -> None:
    """Write all of it. Raises: ResourceError when the disk is full; the earlier file is then untouched."""
    tensors = {f"module.{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.values.items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items() if isinstance(v, Tensor)}
    scaling = scaler.state_dict() if scaler is not None else {}
    note = msgspec.json.encode(Progress(step=step, average_step=average.step, key=key, scaler=scaling)).decode()
    with faults_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, seal(save({k: v.contiguous() for k, v in tensors.items()}, {"progress": note})))


def load_progress(
    path: Path,
    module: nn.Module,
    optimizer: Optimizer,
    average: Average,
    *,
    key: str,
    scaler: GradScaler | None = None,
) -> int:
    """Put everything back and return the steps done; 0 when there is no such file or it belongs to another training.

    Raises: IntegrityError when the file is not what was written.
    """
    if not path.exists():
        return 0
    if reason := why_broken(path.read_bytes()):
        raise IntegrityError(f"{path}: not a checkpoint of ours ({reason}); delete it to train from the start")
    try:
        with safe_open(path, framework="pt") as file:
            progress = msgspec.json.decode(file.metadata()["progress"], type=Progress)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except Exception as fault:
        raise IntegrityError(f"{path}: not a checkpoint of ours ({fault}); delete it to train from the start") from None
    if progress.key != key:
        return 0
    module.load_state_dict(_below("module.", tensors))
    for name, value in _below("average.", tensors).items() if average.values else ():
        average.values[name].copy_(value)  # onto the device and into the layout that they have
    average.step = progress.average_step
    state: dict[int, dict[str, Any]] = {}
    for name, value in _below("optimizer.", tensors).items():
        index, key_name = name.split(".", 1)
        state.setdefault(int(index), {})[key_name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    _lay_out_as_parameters(optimizer)
    if scaler is not None and progress.scaler:
        scaler.load_state_dict(progress.scaler)
    return progress.step


def _lay_out_as_parameters(optimizer: Optimizer) -> None:
    """Give every buffer its parameter's memory layout: fused optimisers pair elements by their place in memory."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def device_of(module: nn.Module) -> torch.device:
    """Return where the module's weights lie."""
    return next(module.parameters()).device
