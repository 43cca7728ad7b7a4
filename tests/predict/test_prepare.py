"""What the network gets is what it got in training, without torch."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from spnas.data.batches import Pictures, eval_batches
from spnas.data.records import DataSet
from spnas.data.transforms import Resize, write_normalised
from spnas.predict.prepare import stack

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("rule", [Resize(None, 96), Resize(40, 64), Resize(None, 64)])
def test_batches_are_those_of_evaluation_bit_for_bit(tiny: DataSet, rule: Resize) -> None:
    pictures = Pictures(tiny.val, rule)
    batch = next(eval_batches(pictures, batch_size=5))
    images, sizes = stack([pictures.sample(i).pixels for i in range(5)])
    np.testing.assert_array_equal(images, batch.images.numpy())
    np.testing.assert_array_equal(sizes, batch.sizes.numpy())


def test_every_value_of_a_pixel_is_normalised_as_in_training() -> None:
    """And pictures of different sizes are padded with zeros to multiples of 32."""
    few = [RNG.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((70, 50), (33, 96), (1, 1))]
    few[0][:, :, :] = np.arange(70 * 50 * 3).reshape(70, 50, 3) % 256
    images, sizes = stack(few)
    assert images.shape == (3, 3, 96, 96)
    theirs = torch.zeros(images.shape)
    for row, (pixels, (h, w)) in enumerate(zip(few, sizes.tolist(), strict=True)):
        write_normalised(pixels, theirs[row, :, :h, :w])
    np.testing.assert_array_equal(images, theirs.numpy())


WITHOUT_TORCH = """
import sys
import numpy as np
from spnas.predict import Model, Raw

class Half:
    def target(self, width, height):
        return width // 2, height // 2

def network(images, sizes):
    boxes = np.array([[[0, 0, w / 2, h]] for h, w in sizes], np.float32)
    return Raw(boxes, np.full((len(sizes), 1), 0.75, np.float32), np.zeros((len(sizes), 1), np.int64))

model = Model(network, classes=("left",), category_ids=(1,), sizing=Half())
found = model.predict(np.zeros((80, 60, 3), np.uint8))
assert found.boxes.tolist() == [[0, 0, 30, 80]], found
assert len(model.predict(np.zeros((80, 160, 3), np.uint8), tile=(64, 16)))
found.plot()
assert "torch" not in sys.modules
"""


def test_another_network_works_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
