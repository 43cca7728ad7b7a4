# SPDX-License-Identifier: Apache-2.0
"""ResNet-18 in one file that needs nothing but torch.

`spnas.export` writes this file anew for another backbone: it replaces this text and the data down to the line that
says so, and nothing below it.
"""

import json
from typing import Any

import torch
from torch import Tensor, nn

# How the blocks look: (kernel, channels per unit of width, groups, whether it takes the stride), one a convolution.
CONVOLUTIONS: tuple[tuple[int, int, int, bool], ...] = (
    (3, 1, 1, True),
    (3, 1, 1, False),
)

# "pool": 7x7 convolution and max-pooling; "conv": two 3x3 convolutions. Both have stride 4.
STEM = "pool"

# Runs of (width, blocks), a line a stage; from the second stage on, the first block halves the resolution.
STAGES: tuple[tuple[tuple[int, int], ...], ...] = (
    ((64, 2),),
    ((128, 2),),
    ((256, 2),),
    ((512, 2),),
)

# Blocks, counted from 0, with a projection shortcut though their shapes do not ask for one.
PROJECTIONS: tuple[int, ...] = ()

# Parallel copies, a number a stage, none where this is empty; and whether they share the weights of their stage.
COPIES: tuple[int, ...] = ()
TIED = False

# The architecture ends here; what follows is the same for all.


def conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Make a convolution without bias, and its batch normalisation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class Block(nn.Module):
    """A residual block: relu(shortcut(x) + F(x))."""

    def __init__(self, in_channels: int, width: int, stride: int, projection: bool) -> None:
        super().__init__()
        channels = in_channels
        for i, (kernel, ratio, groups, strided) in enumerate(CONVOLUTIONS):
            layer = conv_norm(channels, ratio * width, kernel, stride if strided else 1, groups)
            self.add_module(f"conv{i + 1}", layer)
            channels = ratio * width
        self.shortcut = None
        if projection or stride != 1 or channels != in_channels:
            self.shortcut = conv_norm(in_channels, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        y = x
        for i in range(len(CONVOLUTIONS)):
            y = getattr(self, f"conv{i + 1}")(torch.relu(y) if i > 0 else y)
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


def channels_after(stage: int) -> int:
    """Return the channels that come out of a stage, counted from 0, or with -1 out of the stem."""
    return STAGES[0][0][0] if stage < 0 else CONVOLUTIONS[-1][1] * STAGES[stage][-1][0]


def make_stem() -> nn.Sequential:
    """(N, 3, H, W) -> (N, C, H / 4, W / 4)."""
    channels = channels_after(-1)
    if STEM == "pool":
        return nn.Sequential(*conv_norm(3, channels, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))
    return nn.Sequential(*conv_norm(3, channels, 3, 2), nn.ReLU(), *conv_norm(channels, channels, 3, 2), nn.ReLU())


def make_stage(stage: int) -> nn.Sequential:
    """Make the blocks of a stage, counted from 0."""
    number = sum(blocks for runs in STAGES[:stage] for _, blocks in runs)
    channels = channels_after(stage - 1)
    made = nn.Sequential()
    for width in [width for width, blocks in STAGES[stage] for _ in range(blocks)]:
        stride = 2 if stage > 0 and len(made) == 0 else 1
        made.append(Block(channels, width, stride, number + len(made) in PROJECTIONS))
        channels = CONVOLUTIONS[-1][1] * width
    return made


class Copies(nn.Module):
    """The copies of one stage: a chain from the last to the first, which refines the input of the stage itself."""

    def __init__(self, stage: int, count: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(make_stage(stage) for _ in range(0 if TIED else count))
        way_back = channels_after(stage), channels_after(stage - 1), 1
        self.fusions = nn.ModuleList(conv_norm(*way_back) for _ in range(count))

    def forward(self, x: Tensor, before: list[Tensor], main: nn.Module) -> tuple[Tensor, list[Tensor]]:
        """Return the refined input of the stage, and the copies' outputs; `before` are those of the stage before."""
        outputs: list[Tensor] = []
        fused = None
        for k in reversed(range(len(self.fusions))):
            own = before[k] if k < len(before) else x
            y = (main if TIED else self.stages[k])(own if fused is None else own + fused)
            fused = nn.functional.interpolate(self.fusions[k](y), size=x.shape[-2:], mode="nearest")
            outputs.insert(0, y)
        return (x if fused is None else x + fused), outputs


class SPNet(nn.Module):
    """A stem of stride 4 and stages of blocks; `channels` and `strides` describe the outputs, one a stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = make_stem()
        self.stages = nn.ModuleList(make_stage(stage) for stage in range(len(STAGES)))
        self.copies = nn.ModuleList(Copies(stage, count) for stage, count in enumerate(COPIES))
        self.channels = tuple(channels_after(stage) for stage in range(len(STAGES)))
        self.strides = tuple(4 * 2**stage for stage in range(len(STAGES)))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W), normalised as for ImageNet -> one feature map a stage, finest first."""
        x = self.stem(images)
        features: list[Tensor] = []
        parallel: list[Tensor] = []
        for number, stage in enumerate(self.stages):
            if COPIES:
                x, parallel = self.copies[number](x, parallel, stage)
            x = stage(x)
            features.append(x)
        return features


def spnet(weights: str | None = None) -> SPNet:
    """Build the backbone; with the path of its .safetensors file, trained and in evaluation mode."""
    net = SPNet()
    if weights is not None:
        net.load_state_dict(read_safetensors(weights))
        net.eval()
    return net


def read_safetensors(path: str) -> dict[str, Tensor]:
    """Read a .safetensors file: eight bytes of length, a header in JSON, and the numbers, little-endian."""
    types = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
             "I64": torch.int64}  # fmt: skip
    with open(path, "rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        numbers = bytearray(file.read())
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            kind = types[entry["dtype"]]
            flat = torch.frombuffer(numbers, dtype=kind, count=(end - start) // kind.itemsize, offset=start)
            tensors[name] = flat.reshape(entry["shape"])
    return tensors
