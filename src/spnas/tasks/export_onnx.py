"""`spnas export --to onnx`: a trained detector as one ONNX file, judged before it is handed over."""

import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, cast

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spnas.data.batches import Batch, Pictures, Resize, eval_batches
from spnas.data.choice import DataChoice
from spnas.data.open import open_choice
from spnas.data.records import Annotations, DataSet
from spnas.data.transforms import MEAN, STD
from spnas.errors import IntegrityError, UsageError
from spnas.evaluate.detect import Found
from spnas.evaluate.metrics.coco import score
from spnas.export.description import Description, Precision, seal, unseal
from spnas.export.gate import Drift, Feed, ask_again, drift, refuse_drift, torch_look
from spnas.export.graph import graph_of, in_int8
from spnas.export.session import OnnxNetwork, Rows, open_bytes
from spnas.runs.files import sha256, write_atomic
from spnas.talk import Part, Talk
from spnas.tasks.overwrite import refuse_other_onnx
from spnas.tasks.source import open_for, with_classes_of
from spnas.tasks.start import load_detector
from spnas.train.weights import ModelConfig

STRIDE = 32  # heights and widths of an input are multiples of it
BATCH = 4
MOST_JUDGED, MOST_GENERATED, CALIBRATED = 500, 40, 64  # pictures
AP_DRIFT = 0.001  # of fp32
AP_LOSS = {"fp16": 0.005, "int8": 0.02}  # the most that is accepted unless a user says more


class OnnxResult(msgspec.Struct, frozen=True, kw_only=True):
    """The file, and what was found out about it.

    width, height: of its input. judged_on: the pictures. ap_torch, ap_onnx: None where the pictures have no truth.
    milliseconds_torch, milliseconds_onnx: a picture, median over batches, side by side and with as many threads.
    """

    file: str
    sha256: str
    arch: str
    detector: str
    precision: Precision
    width: int
    height: int
    judged_on: str
    drift: Drift
    ap_torch: float | None
    ap_onnx: float | None
    milliseconds_torch: float
    milliseconds_onnx: float


class Judged(NamedTuple):
    """What detector and graph found in a set of pictures, how far they are apart, and seconds a picture."""

    ours: Found
    theirs: Found
    drift: Drift
    seconds: tuple[float, float]


def export_onnx(
    source: Path,
    *,
    out: Path,
    choice: DataChoice,
    image_size: int | None,
    precision: Precision,
    max_ap_loss: float | None,
    talk: Talk,
) -> OnnxResult:
    """Write a detector as an ONNX file once it finds, in onnxruntime, what the detector finds.

    Raises: UsageError, DataError; IntegrityError when it does not, and nothing is written then.
    """
    if precision != "fp32" and choice.path is None:
        raise UsageError(f"--precision {precision}: is judged by its AP; give --data")
    if precision == "fp32" and max_ap_loss is not None:
        raise UsageError("--max-ap-loss is for --precision fp16 and int8; fp32 has to find the same")
    refuse_other_onnx(out, "--out")
    detector, config = load_detector(source)
    data = open_for(choice, talk) if choice.path is not None else None
    if data is not None:
        data = msgspec.structs.replace(data, val=with_classes_of(source, config.classes, data.val))
    resize = config.resize if image_size is None else Resize(None, image_size)
    description = describe_model(config, resize, frame_of(resize, data), precision)
    talk.say(f"writing a graph for pictures of {description.width} x {description.height} px")
    graph = graph_of(detector, (description.height, description.width), precision=precision)
    if precision == "int8":
        assert data is not None
        graph = in_int8(graph, _calibration(data.train, description))
    bare = seal(graph, description)
    network = open_bytes(bare, unseal(bare, name=out.name), name=out.name, threads=torch.get_num_threads())
    pictures = judged_pictures(data)
    judged = judge(detector, network, pictures, talk=talk)
    aps = _aps(pictures, judged) if data is not None else None
    refuse(judged.drift, aps, precision=precision, max_ap_loss=max_ap_loss, name=out.name)
    write_atomic(out, bare)
    return OnnxResult(
        file=str(out),
        sha256=sha256(out),
        arch=config.arch,
        detector=config.detector,
        precision=precision,
        width=description.width,
        height=description.height,
        judged_on=pictures.name if data is not None else "generated pictures",
        drift=judged.drift,
        ap_torch=aps[0] if aps else None,
        ap_onnx=aps[1] if aps else None,
        milliseconds_torch=1e3 * judged.seconds[0],
        milliseconds_onnx=1e3 * judged.seconds[1],
    )


def frame_of(resize: Resize, data: DataSet | None) -> tuple[int, int]:
    """Return the height and width that hold every picture of the data, or without data, any picture."""
    sides = [(resize.long, resize.long)]
    if data is not None:
        sizes = {tuple(size) for part in (data.train, data.val) for size in part.sizes.tolist()}
        sides = [resize.target(*size) for size in sizes]
    width, height = (max(column) for column in zip(*sides, strict=True))
    return -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE


def describe_model(config: ModelConfig, resize: Resize, frame: tuple[int, int], precision: Precision) -> Description:
    """Return what a file says about itself."""
    return Description(
        producer=version("spnas"),
        detector=config.detector,
        arch=config.arch,
        classes=config.classes,
        category_ids=config.category_ids,
        short=resize.short,
        long=resize.long,
        height=frame[0],
        width=frame[1],
        mean=MEAN,
        std=STD,
        score_threshold=config.settings.score_threshold,
        nms_threshold=config.settings.nms_threshold,
        most_detections=config.settings.most_detections,
        precision=precision,
    )


def judged_pictures(data: DataSet | None) -> Annotations:
    """Return val, or as many of its pictures, evenly spread, as there is time for."""
    known, most = (data.val, MOST_JUDGED) if data is not None else (open_choice(DataChoice()).val, MOST_GENERATED)
    if len(known) <= most:
        return known
    chosen = np.linspace(0, len(known) - 1, most).round().astype(np.int64)
    return known.select(chosen, name=f"{known.name} ({most} of {len(known)} pictures)")


def feeds(annotations: Annotations, description: Description, batch_size: int) -> Iterator[tuple[Feed, Batch]]:
    """Yield batches as the graph takes them, and as they were read."""
    pictures = Pictures(annotations, cast(Resize, description))  # it is asked for its target only
    for batch in eval_batches(pictures, batch_size=batch_size):
        images = np.zeros((len(batch.index), 3, description.height, description.width), np.float32)
        images[:, :, : batch.images.shape[2], : batch.images.shape[3]] = batch.images.numpy()
        yield (images, batch.sizes.numpy()), batch


def _calibration(train: Annotations, description: Description) -> Iterator[Feed]:
    chosen = np.unique(np.linspace(0, len(train) - 1, CALIBRATED).round().astype(np.int64))
    return (feed for feed, _ in feeds(train.select(chosen, name=train.name), description, 1))


def judge(detector: nn.Module, network: OnnxNetwork, pictures: Annotations, *, talk: Talk) -> Judged:
    """Let detector and graph look at the same pictures."""
    detector = detector.cpu().eval()
    look, again = torch_look(detector), ask_again(detector)
    description, total, done = network.description, Drift(), 0
    ours, theirs, seconds = list[tuple[NDArray[np.float64], ...]](), list[tuple[NDArray[np.float64], ...]](), []
    with talk.progress():
        for feed, batch in feeds(pictures, description, BATCH):
            began = time.perf_counter()
            wanted = look(*feed)
            between = time.perf_counter()
            got = network(*feed)
            count = len(batch.index)
            seconds.append(((between - began) / count, (time.perf_counter() - between) / count))
            if description.precision == "fp32":
                total += drift(feed, wanted, got, again=again, threshold=description.score_threshold)
            ours.append(_columns(wanted, batch))
            theirs.append(_columns(got, batch))
            done += count
            talk.show([Part("pictures compared", done, len(pictures))])
    usual = np.median(np.array(seconds[1:] or seconds), axis=0)  # the first batch is for warming up
    return Judged(_found(ours), _found(theirs), total, (float(usual[0]), float(usual[1])))


def _columns(rows: Rows, batch: Batch) -> tuple[NDArray[np.float64], ...]:
    """Return a batch's detections in pixels of the original pictures: index, boxes, scores, labels."""
    real = rows.labels >= 0
    boxes = rows.boxes / np.tile(batch.scale.numpy(), 2)[:, None]
    index = np.broadcast_to(batch.index.numpy()[:, None], real.shape)
    return tuple(np.asarray(column[real], np.float64) for column in (index, boxes, rows.scores, rows.labels))


def _found(parts: list[tuple[NDArray[np.float64], ...]]) -> Found:
    index, boxes, scores, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Found(image_index=index.astype(np.int64), boxes=boxes, scores=scores, labels=labels.astype(np.int64))


def _aps(pictures: Annotations, judged: Judged) -> tuple[float, float]:
    ours, theirs = (score(pictures, found).values["ap"] for found in (judged.ours, judged.theirs))
    return ours, theirs


def refuse(
    found: Drift,
    aps: tuple[float, float] | None,
    *,
    precision: Precision,
    max_ap_loss: float | None,
    name: str,
) -> None:
    """Raises: IntegrityError when a graph is not good enough; UsageError when the pictures could not tell."""
    if precision == "fp32":
        refuse_drift(found, name=name)
        if not found.matched:
            raise UsageError(
                f"{name}: the detector finds nothing in these pictures, by which nothing can be compared; give --data "
                "with pictures of what it knows, or train it for longer"
            )
        if aps and not abs(aps[0] - aps[1]) <= AP_DRIFT:
            raise IntegrityError(
                f"{name}: AP is {aps[1]:.4f} in onnxruntime and {aps[0]:.4f} here, further apart than {AP_DRIFT}; "
                "nothing was written, please report the architecture"
            )
        return
    assert aps is not None
    limit = AP_LOSS[precision] if max_ap_loss is None else max_ap_loss
    if not aps[0] - aps[1] <= limit:
        raise IntegrityError(
            f"{name}: {precision} loses {aps[0] - aps[1]:.4f} of {aps[0]:.4f} AP, more than {limit}; nothing was "
            "written: use fp32, or allow more with --max-ap-loss"
        )


def describe_onnx(result: OnnxResult) -> list[str]:
    """Return what a person reads."""
    on = f"on {result.drift.pictures or 'the'} pictures of {result.judged_on}"
    lines = [f"{result.detector} with {result.arch}", f"file: {result.file}"]
    lines += [f"input: images (N, 3, {result.height}, {result.width}), sizes (N, 2)"]
    if result.precision == "fp32":
        lines += [f"the same as torch {on}: {result.drift}"]
    if result.ap_torch is not None and result.ap_onnx is not None:
        lost = round(result.ap_torch - result.ap_onnx, 4) + 0.0  # no -0
        lines += [
            f"AP on {result.judged_on}: {result.ap_onnx:.4f}, {result.ap_torch:.4f} with torch ({lost:+.4f} lost)"
        ]
    ratio = result.milliseconds_torch / result.milliseconds_onnx
    return [
        *lines,
        f"a picture takes {result.milliseconds_onnx:.0f} ms, {result.milliseconds_torch:.0f} ms with torch "
        f"({ratio:.2f} x as fast, side by side on this CPU)",
    ]
