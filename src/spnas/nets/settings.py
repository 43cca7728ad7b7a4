"""Detection settings: two presets, `standard` as the paper trains, `small` for small pictures and CPUs."""

from typing import Annotated

import msgspec

CodeWeights = tuple[float, float, float, float]


class CascadeStage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a cascade: the least overlap that makes a region an object, the scale of its offsets (x, y, width,
    height), and the weight of its loss."""

    overlap: float
    code_weights: CodeWeights
    loss_weight: float


CASCADE = (
    CascadeStage(overlap=0.5, code_weights=(10.0, 10.0, 5.0, 5.0), loss_weight=1.0),
    CascadeStage(overlap=0.6, code_weights=(20.0, 20.0, 10.0, 10.0), loss_weight=0.5),
    CascadeStage(overlap=0.7, code_weights=(30.0, 30.0, 15.0, 15.0), loss_weight=0.25),
)


class DetectorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a detector. The defaults are those of Faster R-CNN and Cascade R-CNN with FPN in the paper's
    experiments, and of FCOS in its own.

    anchor_scale: side of a level's anchors in units of its stride (8: 32 px at stride 4); FCOS finds at a level what
        reaches at most as far from a point.
    proposals: kept per level before NMS and per picture after it, in training and in detection; of FCOS, which has no
        proposals, the first bounds the detections of a level before NMS.
    cascade: the stages of Cascade R-CNN; cascade_by_class: whether they refine boxes for every class.
    tower_depth: convolutions of FCOS before its scores and before its boxes.
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
    cascade: Annotated[tuple[CascadeStage, ...], msgspec.Meta(min_length=1)] = CASCADE
    cascade_by_class: bool = False
    tower_depth: int = 4


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
        tower_depth=2,
    ),
}
