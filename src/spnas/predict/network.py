"""A detector of ours as a `Network`: the only place here that needs torch."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spnas.predict import Network, Raw

if TYPE_CHECKING:
    from torch import nn


def torch_network(detector: "nn.Module") -> Network:
    """Return `detector` as a function of arrays, on a GPU where there is one; it is changed, and
    learns no more."""
    import torch

    from spnas.nets.inference import optimise_for_inference

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ready = optimise_for_inference(detector).to(device)

    @torch.no_grad()
    def look(images: NDArray[np.float32], sizes: NDArray[np.int64]) -> Raw:
        pictures = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
        found = ready.detect(pictures, torch.from_numpy(sizes).to(device))  # type: ignore[operator]
        return Raw(found.boxes.cpu().numpy(), found.scores.cpu().numpy(), found.labels.cpu().numpy())

    return look
