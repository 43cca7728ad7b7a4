"""A backbone as a classifier that the loop of detectors can train: pooling, one linear layer, smoothed cross entropy.

Source: He et al., CVPR 2016, for the head; Szegedy et al., Rethinking the inception architecture, CVPR 2016, for the
smoothing. Tensors have the names of `nets.features.Classifier`, which is the same net for use elsewhere.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from spnas.nets.backbone import Backbone
from spnas.nets.proposals import Targets

SMOOTHING = 0.1


class PictureClassifier(nn.Module):
    """Global average pooling of the last stage, and one linear layer."""

    def __init__(self, backbone: Backbone, *, classes: int) -> None:
        super().__init__()
        self.backbone, self.classes = backbone, classes
        self.fc = nn.Linear(backbone.channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), normalised as for ImageNet -> logits (N, classes), float32."""
        logits: Tensor = self.fc(self.backbone(images)[-1].mean((2, 3)))
        return logits.float()

    def loss(self, images: Tensor, targets: Targets, *_: object) -> dict[str, Tensor]:
        """Return the cross entropy with the first label of every picture, smoothed by .1.

        What detectors need besides, sizes and a generator to sample with, is not looked at.
        """
        return {"class": F.cross_entropy(self(images), targets.labels[:, 0], label_smoothing=SMOOTHING)}
