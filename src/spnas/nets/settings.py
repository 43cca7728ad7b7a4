"""Detection settings: two presets, `standard` as the paper trains, `small` for small pictures and CPUs."""

import msgspec


class DetectorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a two-stage detector. The defaults are those of Faster R-CNN with FPN in the paper's experiments.

    anchor_scale: side of a level's anchors in units of its stride (8: 32 px at stride 4).
    proposals: kept per level before NMS and per picture after it, in training and in detection.
    """

    fpn_channels: int = 256
    anchor_scale: float = 8.0
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rpn_samples: int = 256
    proposals_before_nms: tuple[int, int] = (2000, 1000)
    proposals_after_nms: tuple[int, int] = (2000, 1000)
    roi_samples: int = 512
    roi_size: int = 7
    roi_sampling_ratio: int = 2
    hidden: int = 1024
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    most_detections: int = 100


PRESETS = {
    "standard": DetectorSettings(),
    "small": DetectorSettings(
        fpn_channels=32,
        anchor_scale=4.0,
        rpn_samples=64,
        proposals_before_nms=(100, 100),
        proposals_after_nms=(50, 50),
        roi_samples=32,
        roi_size=5,
        roi_sampling_ratio=1,
        hidden=128,
    ),
}
