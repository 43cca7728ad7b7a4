"""Pictures to measure with: generated ones of a size, as files, and batches that were read before."""

import io
from pathlib import Path

import msgspec
import numpy as np
import torch
from PIL import Image

from spnas.bench import Case
from spnas.data.batches import Batch
from spnas.data.generate import GeneratorSettings, draw_picture
from spnas.data.open import open_split
from spnas.data.records import Annotations
from spnas.rng import rng

LEAST_BOX_PX = 4
LARGEST_PICTURE = 2048


def write_pictures(folder: Path, size: tuple[int, int], count: int) -> Annotations:
    """Draw `count` pictures of `size` (height, width), at most 2048 px a side, into a COCO folder, and open it."""
    height, width = (min(side, LARGEST_PICTURE) for side in size)
    side = max(height, width)
    drawing = GeneratorSettings(side_px=side, size_px=(max(8, side // 12), max(12, side // 3)), objects=(2, 6))
    (folder / "train").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for index in range(count):
        pixels, drawn = draw_picture(drawing, rng(0, "bench", index=index))
        buffer, name = io.BytesIO(), f"{index:06d}.png"
        Image.fromarray(pixels[:height, :width]).save(buffer, "PNG", compress_level=1)
        (folder / "train" / name).write_bytes(buffer.getvalue())
        images.append({"id": index, "file_name": name, "width": width, "height": height})
        for shape in drawn:
            x, y, w, h = shape.box
            w, h = min(w, width - x), min(h, height - y)
            if min(w, h) >= LEAST_BOX_PX:
                row = {"image_id": index, "category_id": shape.label + 1, "bbox": (x, y, w, h), "area": w * h}
                annotations.append({"id": len(annotations), "iscrowd": 0, **row})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(drawing.classes)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances_train.json").write_bytes(msgspec.json.encode(document))
    return open_split(folder, split="train", format="coco")


def noise_batch(case: Case) -> Batch:
    """Return a batch of a case that no picture is needed for: noise, and one box in the middle of each."""
    n, (height, width) = case.batch_size, case.size
    box = torch.tensor((width / 4, height / 4, width / 2, height / 2))
    noise = rng(0, "bench-noise").standard_normal((n, 3, height, width), np.float32)
    return Batch(
        images=torch.from_numpy(noise),
        boxes=box.expand(n, 1, 4).clone(),
        labels=torch.zeros(n, 1, dtype=torch.int64),
        ignore=torch.zeros(n, 1, dtype=torch.bool),
        index=torch.arange(n),
        scale=torch.ones(n, 2),
        sizes=torch.tensor((height, width)).expand(n, 2).clone(),
    )
