"""Our Faster R-CNN against torchvision's: the same backbone, settings, weights, data and optimiser, one thread each.

Theirs is `torchvision.models.detection.FasterRCNN` with torchvision's ResNet-50 in the standard cell, and with our
backbone in its pyramid in the small ones (torchvision has no small ResNet), trained by the plain loop that its
references use: lists of pictures and targets, the sum of losses, SGD. Ours runs in `spnas.train.loop.train`, which
clips besides. Steps take turns, so that what else the machine does slows both alike; a ratio is theirs
over ours in the same turn. With one thread it is the processor's time that counts; wall time is printed beside it.

    OMP_NUM_THREADS=1 uv run python benchmarks/throughput.py                      # minutes
    uv run python benchmarks/throughput.py --cells standard-800 --device cuda     # as the paper's pictures, on a GPU
"""

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.transforms.v2.functional import horizontal_flip, pil_to_tensor

from spnas.adapters.torchvision import FeaturesWithFPN
from spnas.arch.published import arch_of
from spnas.bench.memory import forget_peak, peak_rss_mib
from spnas.data.batches import Batch, Pictures, Resize, train_batch
from spnas.data.generate import GeneratorSettings
from spnas.data.open import open_data
from spnas.data.records import Annotations
from spnas.data.transforms import FLIP_ONLY
from spnas.evaluate.detect import detect
from spnas.nets.backbone import Backbone
from spnas.nets.features import Features
from spnas.nets.foreign import translate
from spnas.nets.settings import PRESETS, DetectorSettings
from spnas.predict.network import torch_network
from spnas.train.loop import TrainKey, train
from spnas.train.settings import TrainSettings
from spnas.train.weights import ModelConfig, build

MOMENTUM, WEIGHT_DECAY, RATE = 0.9, 1e-4, 0.005
PICTURES = 48
PICTURE_OVER_INPUT = 1.5  # sides of the pictures on disk, so that there is something to resize
MEMORY_REPEATS = 3
TENSORS, FILES = "from tensors", "from files"
KEPT = "from files, which ours reads once"  # as `spnas train` does while there is room; the references do not


class Cell(NamedTuple):
    """What is compared; `learn` steps are taken before, so that scores are not all alike, as they are at first."""

    preset: str
    arch: str
    side: int
    batch: int
    rounds: int
    learn: int


SMALL = "basic: 16x2 / 32x2 / 64x2 / 128x2"
CELLS = {
    "small-128": Cell("small", SMALL, 128, 8, 40, 100),
    "small-320": Cell("small", SMALL, 320, 8, 16, 40),
    "standard-320": Cell("standard", "resnet50", 320, 2, 6, 6),
    "standard-800": Cell("standard", "resnet50", 800, 8, 30, 60),
}
TheirTargets = list[dict[str, Tensor]]


class Turn(NamedTuple):
    """Seconds one side took for one batch: of the clock, and of the processor."""

    wall: float
    work: float


def clock(device: str) -> Turn:
    """Return both clocks now, all work on the device done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return Turn(time.perf_counter(), time.process_time())


def since(began: Turn, device: str) -> Turn:
    """Return what went by since then."""
    now = clock(device)
    return Turn(now.wall - began.wall, now.work - began.work)


def ours_of(cell: Cell, classes: tuple[str, ...]) -> nn.Module:
    """Build our detector."""
    config = ModelConfig(
        detector="faster_rcnn",
        arch=arch_of(cell.arch).text,
        classes=classes,
        category_ids=tuple(range(1, len(classes) + 1)),
        settings=PRESETS[cell.preset],
        resize=Resize(None, cell.side),
    )
    return build(config, seed=0)


def theirs_of(cell: Cell, classes: int, *, resizes: bool) -> FasterRCNN:
    """Build torchvision's detector with the same settings; it takes pictures as large as they are, or `resizes`."""
    settings: DetectorSettings = PRESETS[cell.preset]
    channels, arch = settings.fpn_channels, arch_of(cell.arch)
    backbone: Any
    if cell.arch == "resnet50":
        backbone = _resnet_fpn_extractor(resnet50(weights=None), 5)
    else:
        backbone = FeaturesWithFPN(Features(Backbone(arch)), out_channels=channels)
    levels = len(arch.stages)
    return FasterRCNN(
        backbone,
        min_size=cell.side,
        max_size=cell.side,
        rpn_anchor_generator=AnchorGenerator(
            tuple((round(settings.anchor_scale * 4 * 2**i),) for i in range(levels + 1)),
            (settings.anchor_ratios,) * (levels + 1),
        ),
        rpn_pre_nms_top_n_train=settings.proposals_before_nms[0],
        rpn_pre_nms_top_n_test=settings.proposals_before_nms[1],
        rpn_post_nms_top_n_train=settings.proposals_after_nms[0],
        rpn_post_nms_top_n_test=settings.proposals_after_nms[1],
        rpn_batch_size_per_image=settings.rpn_samples,
        box_roi_pool=MultiScaleRoIAlign(
            [str(i) for i in range(levels)],
            settings.roi_size,
            settings.roi_sampling_ratio,
            canonical_scale=28 * settings.anchor_scale,
        ),
        box_head=TwoMLPHead(channels * settings.roi_size**2, settings.hidden),
        box_predictor=FastRCNNPredictor(settings.hidden, classes + 1),
        box_batch_size_per_image=settings.roi_samples,
        box_score_thresh=settings.score_threshold,
        box_nms_thresh=settings.nms_threshold,
        box_detections_per_img=settings.most_detections,
        _skip_resize=not resizes,
    )


@torch.no_grad()
def copy_weights(ours: Any, theirs: FasterRCNN) -> None:
    """Give torchvision's detector all of our weights; its background is class 0, ours the last one."""
    body, mine = theirs.backbone.body, ours.backbone.state_dict()
    state = body.state_dict()
    body.load_state_dict({name: mine[our] for name, our in zip(state, translate(state), strict=True)})
    pyramid = theirs.backbone.fpn
    for i, (lateral, output) in enumerate(zip(ours.neck.lateral, ours.neck.output, strict=True)):
        pyramid.inner_blocks[i][0].load_state_dict(lateral.state_dict())
        pyramid.layer_blocks[i][0].load_state_dict(output.state_dict())
    proposer = theirs.rpn.head
    proposer.conv[0][0].load_state_dict(ours.rpn.conv.state_dict())
    proposer.cls_logits.load_state_dict(ours.rpn.objectness.state_dict())
    proposer.bbox_pred.load_state_dict(ours.rpn.offsets.state_dict())
    head, box = ours.head, theirs.roi_heads
    box.box_head.fc6.load_state_dict(head.hidden1.state_dict())
    box.box_head.fc7.load_state_dict(head.hidden2.state_dict())
    for name in ("weight", "bias"):
        scores, offsets = getattr(head.scores, name), getattr(head.offsets, name)
        getattr(box.box_predictor.cls_score, name).copy_(scores.roll(1, 0))
        getattr(box.box_predictor.bbox_pred, name)[4:].copy_(offsets)
        getattr(box.box_predictor.bbox_pred, name)[:4].zero_()


def their_step(
    model: FasterRCNN, optimizer: torch.optim.Optimizer, images: list[Tensor], targets: TheirTargets
) -> None:
    """Take one step as torchvision's references do."""
    terms = model(images, targets)
    total = torch.stack([term.reshape(()) for term in terms.values()]).sum()
    if not np.isfinite(total.item()):
        raise RuntimeError("their loss diverged; nothing can be compared")
    optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def as_theirs(batch: Batch, device: str) -> tuple[list[Tensor], TheirTargets]:
    """Turn a batch of ours into lists of what torchvision takes; both normalise alike, theirs in the model."""
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    images = [
        (image[:, :h, :w] * std + mean).clamp(0, 1).contiguous().to(device)
        for image, (h, w) in zip(batch.images, batch.sizes.tolist(), strict=True)
    ]
    real = batch.labels >= 0
    return images, [
        {"boxes": boxes[row].to(device), "labels": labels[row].to(device) + 1}
        for boxes, labels, row in zip(batch.boxes, batch.labels, real, strict=True)
    ]


def their_pictures(
    data: Annotations, indices: list[int], device: str, *, flips: bool
) -> tuple[list[Tensor], TheirTargets]:
    """Read pictures as torchvision's references do: PIL, a tensor, floats, and half of them mirrored."""
    images, targets = [], []
    for index in indices:
        with Image.open(data.path(index)) as file:
            image = pil_to_tensor(file.convert("RGB"))
        boxes = torch.from_numpy(data.boxes[data.rows(index)]).float()
        if flips and torch.rand(()) < 0.5:
            image = horizontal_flip(image)
            boxes = torch.stack(
                (image.shape[2] - boxes[:, 2], boxes[:, 1], image.shape[2] - boxes[:, 0], boxes[:, 3]), 1
            )
        images.append(image.to(device).float().div_(255))
        labels = torch.from_numpy(data.labels[data.rows(index)]).long() + 1
        targets.append({"boxes": boxes.to(device), "labels": labels.to(device)})
    return images, targets


def training(
    cell: Cell, data: Annotations, weights: dict[str, Tensor], *, device: str, source: str
) -> list[tuple[Turn, Turn]]:
    """Return what both sides took for a step, turn after turn; the first turns warm up and are left out."""
    ours, theirs, pictures = both(cell, data, weights, device=device, source=source)
    theirs.train()
    optimizer = torch.optim.SGD(theirs.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    made = [made_batch(pictures, cell, step) for step in range(4)]
    lists = [as_theirs(batch, device) for batch in made]
    turns: list[tuple[Turn, Turn]] = []
    began: list[Turn] = []  # of our step under way
    theirs_took: list[Turn] = []

    def close() -> None:
        if began:
            turns.append((since(began.pop(), device), theirs_took.pop()))

    def batch_of(step: int) -> Batch:
        """End our step before, let torchvision take one, and begin ours."""
        close()
        start = clock(device)
        if source != TENSORS:
            first = step * cell.batch
            indices = [(first + i) % len(data) for i in range(cell.batch)]
            images, targets = their_pictures(data, indices, device, flips=True)
        else:
            images, targets = lists[step % len(lists)]
        their_step(theirs, optimizer, images, targets)
        theirs_took.append(since(start, device))
        began.append(clock(device))
        return made_batch(pictures, cell, step) if source != TENSORS else made[step % len(made)]

    train(ours, batch_of, train_settings(cell), steps=cell.rounds + 3, key=TrainKey(0, 0))
    return turns[2:]


def train_settings(cell: Cell) -> TrainSettings:
    """Return what both sides train with; ours clips gradients besides."""
    return TrainSettings(
        optimizer="sgd",
        rate=RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        schedule="steps",
        batch_size=cell.batch,
        average=0,
    )


def made_batch(pictures: Pictures, cell: Cell, step: int) -> Batch:
    """Make our batch of a step, half of its pictures mirrored."""
    return train_batch(pictures, batch_size=cell.batch, step=step, seed=0, augment=FLIP_ONLY)


def inference(
    cell: Cell, data: Annotations, weights: dict[str, Tensor], *, device: str, source: str
) -> list[tuple[Turn, Turn]]:
    """Return what both sides took for a batch, turn after turn."""
    ours, theirs, pictures = both(cell, data, weights, device=device, source=source)
    ours.eval()
    theirs.eval()
    made = [looked_at(pictures, cell, step) for step in range(4)]
    lists = [as_theirs(batch, device)[0] for batch in made]
    turns: list[tuple[Turn, Turn]] = []

    def batches() -> Iterator[Batch]:
        """Let torchvision look at a batch before ours does; ours is done with one when it asks for the next."""
        for turn in range(cell.rounds + 2):
            k = turn % len(made)
            start = clock(device)
            with torch.inference_mode():
                images = lists[k]
                if source != TENSORS:
                    images = their_pictures(data, made[k].index.tolist(), device, flips=False)[0]
                theirs(images)
            theirs_took, start = since(start, device), clock(device)
            yield looked_at(pictures, cell, k) if source != TENSORS else made[k]
            turns.append((since(start, device), theirs_took))

    detect(ours, batches())
    return turns[2:]


def looked_at(pictures: Pictures, cell: Cell, step: int) -> Batch:
    """Make our batch of a step, its pictures as they are."""
    return train_batch(pictures, batch_size=cell.batch, step=step, seed=0, augment=None)


def learned(cell: Cell, data: Annotations, device: str) -> dict[str, Tensor]:
    """Return weights after a few steps of ours, which both sides begin with."""
    ours, pictures = ours_of(cell, data.classes).to(device), Pictures(data, Resize(None, cell.side))
    train(
        ours, lambda step: made_batch(pictures, cell, step), train_settings(cell), steps=cell.learn, key=TrainKey(0, 0)
    )
    return ours.state_dict()


def both(
    cell: Cell, data: Annotations, weights: dict[str, Tensor], *, device: str, source: str
) -> tuple[nn.Module, FasterRCNN, Pictures]:
    """Return both detectors with the same weights, and pictures that are read as `source` says."""
    ours, theirs = ours_of(cell, data.classes), theirs_of(cell, len(data.classes), resizes=source != TENSORS)
    ours.load_state_dict(weights)
    ours.to(memory_format=torch.channels_last)
    copy_weights(ours, theirs)
    pictures = Pictures(data, Resize(None, cell.side), cache_bytes=0 if source == FILES else 1 << 30)
    return ours.to(device), theirs.to(device), pictures


def peak_mib(cell: Cell, data: Annotations, what: str, side: str, device: str) -> float:
    """Return what `side` takes for a few batches beyond what this process had before; to be called once a process."""
    first = looked_at(Pictures(data, Resize(None, cell.side)), cell, 0)
    images, targets = as_theirs(first, device)
    before = forget_peak()
    if side == "ours":
        ours = ours_of(cell, data.classes).to(device)
        if what == "training":
            train(ours, lambda _: first, train_settings(cell), steps=4, key=TrainKey(0, 0))
        else:
            look, sizes = torch_network(ours), first.sizes.numpy()
            for _ in range(4):
                look(first.images.numpy(), sizes)
    else:
        theirs = theirs_of(cell, len(data.classes), resizes=False).to(device)
        theirs.train(what == "training")
        optimizer = torch.optim.SGD(theirs.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        for _ in range(4):
            if what == "training":
                their_step(theirs, optimizer, images, targets)
            else:
                with torch.inference_mode():
                    theirs(images)
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_rss_mib() - before


def memory_row(name: str, what: str, device: str) -> dict[str, float]:
    """Return the peak of either side in MiB, the median of some processes each."""
    peaks: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(MEMORY_REPEATS):
        for side, found in peaks.items():
            command = [sys.executable, __file__, "--cells", name, "--device", device, "--peak", what, side]
            found.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return {side: float(np.median(found)) for side, found in peaks.items()}


def row(turns: list[tuple[Turn, Turn]], pictures: int, *, by: str) -> str:
    """Return pictures a second of both sides, and the ratio with its quartiles, as columns."""
    ours, theirs = (np.array([getattr(turn[side], by) for turn in turns]) for side in (0, 1))
    low, middle, high = np.quantile(theirs / ours, (0.25, 0.5, 0.75))
    rates = f"{pictures / np.median(ours):.3g} | {pictures / np.median(theirs):.3g}"
    return f"{rates} | **{middle:.2f}** ({low:.2f} to {high:.2f})"


def data_for(cell: Cell, folder: Path) -> Annotations:
    """Return generated pictures, larger than the network's input, and their boxes."""
    side = round(PICTURE_OVER_INPUT * cell.side)
    drawn = GeneratorSettings(train=PICTURES, val=1, side_px=side, size_px=(side // 8, side // 2), objects=(1, 6))
    return open_data(None, generated=drawn, cache=folder).train


def main() -> None:
    """Compare cell by cell, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", default="small-128,small-320,standard-320", help=", ".join(CELLS))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--peak", nargs=2, metavar=("WHAT", "SIDE"), help="measure one side's memory in this process")
    parser.add_argument("--skip-memory", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as cache:
        for name in chosen.cells.split(","):
            cell = CELLS[name]
            data = data_for(cell, Path(cache))
            if chosen.peak:
                what, side = chosen.peak
                print(peak_mib(cell, data, what, side, chosen.device))
                return
            compare(name, cell, data, chosen.device, memory=not chosen.skip_memory)


def compare(name: str, cell: Cell, data: Annotations, device: str, *, memory: bool) -> None:
    """Print the rows of one cell."""
    print(f"\n{name}: {arch_of(cell.arch)}, {cell.preset} settings, {cell.side}x{cell.side}, batch {cell.batch}")
    print(
        f"{platform.machine()}, {device}, one thread; torch {torch.__version__}, torchvision {torchvision.__version__}"
    )
    print("\n| what | clock | ours, pictures/s | torchvision | theirs over ours |\n|---|---|---|---|---|")
    weights = learned(cell, data, device)
    for label, measure in (("training", training), ("inference", inference)):
        for source in (TENSORS, FILES, KEPT) if label == "training" else (TENSORS, FILES):
            turns = measure(cell, data, weights, device=device, source=source)
            what = f"{label}, {source}"
            for by, words in (("work", "processor"), ("wall", "wall")):
                if device == "cpu" or by == "wall":
                    print(f"| {what} | {words} | {row(turns, cell.batch, by=by)} |", flush=True)
    for what in ("training", "inference") if memory else ():
        peaks = memory_row(name, what, device)
        share = peaks["theirs"] / peaks["ours"]
        print(
            f"| {what}, peak memory | MiB | {peaks['ours']:.0f} | {peaks['theirs']:.0f} | **{share:.2f}** |", flush=True
        )


if __name__ == "__main__":
    main()
