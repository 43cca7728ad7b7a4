"""Published backbones by name, with what their papers print.

Source: SP-NAS supplement, figure 1 (codes of the SPNets, 7x7 stem and pooling as in the release), tables 1 and 2;
He et al. 2016, Xie et al. 2017. Costs are counted, not copied: see `spnas.nets.cost`.
"""

import re

import msgspec

from spnas.arch.arch import Arch
from spnas.arch.notation import parse, parse_code
from spnas.errors import UsageError
from spnas.shelf import nearest


class Detection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of the supplement's tables: `data` is coco, bdd or ecp, `detector` is fpn (Faster R-CNN) or cascade.

    Units: AP in percent as printed, LAMR as a share; fps on one V100 with pictures of 800x1333.
    """

    data: str
    detector: str
    ap: float | None = None
    ap50: float | None = None
    ap_small: float | None = None
    lamr: float | None = None
    fps: float | None = None


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A named backbone; figures are those printed in `paper`, at 224x224: GMACs and ImageNet top-1 error in percent.

    remark: why a printed figure does not fit the architecture, or what else a reader should know of it.
    misprint: the printed GMACs cannot be those of this architecture.
    """

    arch: Arch
    paper: str
    printed_gmacs: float | None = None
    printed_top1_error: float | None = None
    detections: tuple[Detection, ...] = ()
    remark: str = ""
    misprint: bool = False


_SPNAS = "SP-NAS, CVPR 2020"
_RESNET = "Deep residual learning, CVPR 2016"
_RESNEXT = "Aggregated residual transformations, CVPR 2017"


def _resnet(block: str, *depths: int) -> Arch:
    return Arch(block, tuple((64 * 2**i,) * depth for i, depth in enumerate(depths)))


def _coco(detector: str, ap: float, ap50: float, ap_small: float, fps: float) -> Detection:
    return Detection(data="coco", detector=detector, ap=ap, ap50=ap50, ap_small=ap_small, fps=fps)


def _street(coco: float | None, bdd: float, lamr: float) -> tuple[Detection, ...]:
    """Return a row of table 2: COCO and BDD mAP, ECP LAMR, all with FPN."""
    street = Detection(data="bdd", detector="fpn", ap=bdd), Detection(data="ecp", detector="fpn", lamr=lamr)
    return street if coco is None else (Detection(data="coco", detector="fpn", ap=coco), *street)


_BDD = "r_" + "1" * 10 + "2-" + "1" * 17 + "-2" + "1" * 17 + "-2" + "1" * 6 + "-111-1"
_COCO_BNB = "r_111121-111111112-11-" + "1" * 17 + "2-" + "1" * 12 + "-1"
_COCO_XB = "x(32x4d)_1111-21111-2" + "1" * 24 + "-211-1"
_FIRST_STRIDE = "the paper puts a stage's stride on the first 1x1; here it is on the 3x3, which costs more"

PUBLISHED: dict[str, Published] = {
    "spnet_voc_bb": Published(
        arch=parse_code("b_112-1111-2111111111-2111-1-1111"),
        paper=_SPNAS,
        printed_gmacs=5.5,
        printed_top1_error=23.7,
    ),
    "spnet_ecp": Published(
        arch=parse_code("r_11121111-21111-112-1111-1111"),
        paper=_SPNAS,
        printed_gmacs=14.1,
        printed_top1_error=20.3,
        detections=_street(40.6, 37.8, 0.054),
    ),
    "spnet_bdd": Published(
        arch=parse_code(_BDD),
        paper=_SPNAS,
        printed_gmacs=13.8,
        printed_top1_error=20.0,
        detections=_street(40.7, 38.7, 0.059),
    ),
    "spnet_coco_bnb": Published(
        arch=parse_code(_COCO_BNB),
        paper=_SPNAS,
        printed_gmacs=9.5,
        printed_top1_error=20.9,
        detections=(
            _coco("fpn", 41.8, 63.4, 25.8, 11.5),
            _coco("cascade", 45.6, 64.3, 28.4, 10.2),
            *_street(None, 37.4, 0.060),
        ),
    ),
    "spnet_coco_xb": Published(
        arch=parse_code(_COCO_XB),
        paper=_SPNAS,
        printed_gmacs=8.8,
        printed_top1_error=20.0,
        detections=(_coco("fpn", 44.0, 65.0, 26.6, 6.0), _coco("cascade", 47.4, 65.7, 29.6, 5.6)),
        remark="the printed 8.8 is 3 % below what its published code costs; "
        "AP and fps may be those of the net with its parallel copies",
        misprint=True,
    ),
    "spnet_coco_xb_parallel": Published(
        arch=parse_code(f"{_COCO_XB}_1-0-2-1-2"),
        paper=_SPNAS,
        remark="the only published parallel code, given by an author for Cascade R-CNN",
    ),
    "resnet18": Published(arch=_resnet("basic", 2, 2, 2, 2), paper=_RESNET, printed_gmacs=1.8),
    "resnet34": Published(arch=_resnet("basic", 3, 4, 6, 3), paper=_RESNET, printed_gmacs=3.6),
    "resnet50": Published(
        arch=_resnet("bottleneck", 3, 4, 6, 3), paper=_RESNET, printed_gmacs=3.8, remark=_FIRST_STRIDE
    ),
    "resnet101": Published(
        arch=_resnet("bottleneck", 3, 4, 23, 3),
        paper=_SPNAS,
        printed_gmacs=4.1,
        printed_top1_error=22.8,
        detections=(_coco("fpn", 39.4, 60.6, 22.1, 11.9), _coco("cascade", 42.8, 62.1, 23.7, 10.2)),
        remark="the supplement prints 4.1, which is ResNet-50's cost",
        misprint=True,
    ),
    "resnet152": Published(
        arch=_resnet("bottleneck", 3, 8, 36, 3), paper=_RESNET, printed_gmacs=11.3, remark=_FIRST_STRIDE
    ),
    "resnext50_32x4d": Published(arch=_resnet("resnext", 3, 4, 6, 3), paper=_RESNEXT, printed_gmacs=4.2),
    "resnext101_32x4d": Published(
        arch=_resnet("resnext", 3, 4, 23, 3),
        paper=_RESNEXT,
        printed_gmacs=7.8,
        detections=(_coco("fpn", 40.1, 62.0, 23.4, 10.3), _coco("cascade", 44.5, 63.3, 26.1, 6.7)),
        remark="AP and fps are the SP-NAS supplement's, which names no more than ResNeXt101 and draws 32x4d",
    ),
    "resnext101_64x4d": Published(arch=_resnet("resnext64x4d", 3, 4, 23, 3), paper=_RESNEXT),
}


def published(name: str) -> Published:
    """Return the backbone of this name. Raises: UsageError naming the nearest one."""
    if name not in PUBLISHED:
        raise UsageError(f"there is no backbone named {name!r}; {nearest(name, list(PUBLISHED))}")
    return PUBLISHED[name]


def arch_of(text: str) -> Arch:
    """Read a published name, a notation or a code. Raises: UsageError when it is none of them."""
    text = text.strip()
    if re.fullmatch(r"[A-Za-z0-9_]{1,80}", text) and not re.fullmatch(r"[br]_[12]+", text):
        return published(text).arch
    return parse(text)
