"""The layout of the SP-NAS supplement's table 1, with its frames a second and ours as ratios to ResNet-101's."""

import math
from collections.abc import Mapping

import msgspec

from spnas.arch.published import PUBLISHED

SIZE = (800, 1333)
REFERENCE = "resnet101"
# the rows, and whose printed figures they are: XB is measured with its copies, whose AP and fps those may be
ROWS = (
    ("resnet101", "resnet101"),
    ("resnext101_32x4d", "resnext101_32x4d"),
    ("spnet_coco_bnb", "spnet_coco_bnb"),
    ("spnet_coco_xb_parallel", "spnet_coco_xb"),
)
DETECTORS = {"fpn": "faster_rcnn", "cascade": "cascade_rcnn"}  # the paper's names, and ours


class PaperRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row: fps as printed and as measured here, and both as shares of what ResNet-101 reaches with the detector."""

    detector: str
    arch: str
    ap: float
    printed_fps: float
    printed_ratio: float
    fps: float
    ratio: float


def paper_rows(fps: Mapping[tuple[str, str], float]) -> list[PaperRow]:
    """Return the rows of the table from measured frames a second by (detector, arch), by our names."""
    rows = []
    for theirs, ours in DETECTORS.items():
        printed = {arch: _printed(source, theirs) for arch, source in ROWS}
        for arch, _ in ROWS:
            ap, its = printed[arch]
            rows.append(
                PaperRow(
                    detector=theirs,
                    arch=arch,
                    ap=ap,
                    printed_fps=its,
                    printed_ratio=its / printed[REFERENCE][1],
                    fps=fps[ours, arch],
                    ratio=fps[ours, arch] / fps[ours, REFERENCE],
                )
            )
    return rows


def _printed(arch: str, detector: str) -> tuple[float, float]:
    """Return the AP and frames a second that the paper prints."""
    (row,) = (d for d in PUBLISHED[arch].detections if (d.data, d.detector) == ("coco", detector))
    return row.ap or math.nan, row.fps or math.nan
