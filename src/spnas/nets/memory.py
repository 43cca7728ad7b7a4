"""What training a backbone keeps in memory for one picture, additive per block like its other costs."""

from functools import lru_cache

import torch
from torch import nn

from spnas.arch import Arch
from spnas.nets.pieces import Piece, Stage, blocks_of, build, lay_out, without_norms


def activation_mib(
    arch: Arch, height: int = 224, width: int = 224, *, projections: frozenset[int] = frozenset()
) -> float:
    """Return the MiB of activations that the backward pass of `arch` needs, for one picture in 32-bit floats.

    Counted are the feature maps that autograd keeps from a forward pass in training mode, the picture among them, each
    once however many layers keep it. Left out are parameters, statistics of single channels, and what an
    implementation of convolution takes for itself: none of these grows with the batch, and the last differs between
    devices. A batch of N pictures keeps N times as much; 16-bit activations about half.
    """
    layout = lay_out(arch, (height, width), projections)
    kept = [_kept_by_stage(stage) for stage in layout.stages]
    for stage, copies, fusion in layout.copies:
        kept[stage] += copies * (kept[stage] + _kept_by(fusion))
    return (sum(kept) + _kept_by(layout.stem)) / 2**20


@lru_cache(maxsize=65536)
def _kept_by_stage(stage: Stage) -> int:
    return sum(_kept_by(piece) * times for piece, times in blocks_of(stage))


@lru_cache(maxsize=65536)
def _kept_by(piece: Piece) -> int:
    """Return the bytes that a piece adds: its own maps and its output, which whatever follows keeps; its input was
    counted as the output of the piece before, but for the picture itself."""
    with torch.device("meta"):
        module = without_norms(build(piece), lambda norm: _Scale(norm.num_features))
        x = torch.empty(1, piece.in_channels, *piece.size, requires_grad=piece.part != "stem")
        kept, y = _kept_for_backward(module, x)
    kept[_storage(y)] = y.untyped_storage().nbytes()
    if piece.part != "stem":
        kept.pop(_storage(x), None)
    return sum(kept.values())


class _Scale(nn.Module):
    """Stands for a BN, which keeps its input as this does, and puts out a map of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) -> the same."""
        return x * self.weight


def _kept_for_backward(module: nn.Module, x: torch.Tensor) -> tuple[dict[int, int], torch.Tensor]:
    """Run `module` on `x` and return what autograd keeps of feature maps, bytes by storage, and the output."""
    kept: dict[int, int] = {}
    held = list[torch.Tensor]()  # so that no storage is freed, and its address used again, while we count

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor)
        if _storage(tensor) not in own:
            kept[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    own = {_storage(parameter) for parameter in module.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = module(x)
    return kept, y


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
