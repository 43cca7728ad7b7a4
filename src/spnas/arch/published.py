"""Published backbones by name, with what their papers print.

Source: SP-NAS supplement, figure 1 (codes of the SPNets, 7x7 stem and pooling as in the release), He et al. 2016,
Xie et al. 2017. Costs are counted, not copied: see `spnas.nets.cost`.
"""

import msgspec

from spnas.arch.arch import Arch
from spnas.arch.notation import parse_code
from spnas.errors import UsageError
from spnas.shelf import nearest


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A named backbone; figures are those printed in `paper`, at 224x224: GMACs and ImageNet top-1 error in percent."""

    arch: Arch
    paper: str
    printed_gmacs: float | None = None
    printed_top1_error: float | None = None
    remark: str = ""


_SPNAS = "SP-NAS, CVPR 2020"
_RESNET = "Deep residual learning, CVPR 2016"
_RESNEXT = "Aggregated residual transformations, CVPR 2017"


def _resnet(block: str, *depths: int) -> Arch:
    return Arch(block, tuple((64 * 2**i,) * depth for i, depth in enumerate(depths)))


def _spnet(code: str, gmacs: float, error: float, remark: str = "") -> Published:
    return Published(arch=parse_code(code), paper=_SPNAS, printed_gmacs=gmacs, printed_top1_error=error, remark=remark)


_BDD = "r_" + "1" * 10 + "2-" + "1" * 17 + "-2" + "1" * 17 + "-2" + "1" * 6 + "-111-1"
_COCO_BNB = "r_111121-111111112-11-" + "1" * 17 + "2-" + "1" * 12 + "-1"
_COCO_XB = "x(32x4d)_1111-21111-2" + "1" * 24 + "-211-1"
_XB_REMARK = "the printed 8.8 is 3 % below what its published code costs"
_R101_REMARK = "the supplement prints 4.1, which is ResNet-50's cost"

PUBLISHED: dict[str, Published] = {
    "spnet_voc_bb": _spnet("b_112-1111-2111111111-2111-1-1111", 5.5, 23.7),
    "spnet_ecp": _spnet("r_11121111-21111-112-1111-1111", 14.1, 20.3),
    "spnet_bdd": _spnet(_BDD, 13.8, 20.0),
    "spnet_coco_bnb": _spnet(_COCO_BNB, 9.5, 20.9),
    "spnet_coco_xb": _spnet(_COCO_XB, 8.8, 20.0, _XB_REMARK),
    "resnet18": Published(arch=_resnet("basic", 2, 2, 2, 2), paper=_RESNET, printed_gmacs=1.8),
    "resnet34": Published(arch=_resnet("basic", 3, 4, 6, 3), paper=_RESNET, printed_gmacs=3.6),
    "resnet50": Published(arch=_resnet("bottleneck", 3, 4, 6, 3), paper=_RESNET, printed_gmacs=3.8),
    "resnet101": Published(
        arch=_resnet("bottleneck", 3, 4, 23, 3),
        paper=_SPNAS,
        printed_gmacs=4.1,
        printed_top1_error=22.8,
        remark=_R101_REMARK,
    ),
    "resnet152": Published(arch=_resnet("bottleneck", 3, 8, 36, 3), paper=_RESNET, printed_gmacs=11.3),
    "resnext50_32x4d": Published(arch=_resnet("resnext", 3, 4, 6, 3), paper=_RESNEXT, printed_gmacs=4.2),
    "resnext101_32x4d": Published(arch=_resnet("resnext", 3, 4, 23, 3), paper=_RESNEXT, printed_gmacs=7.8),
    "resnext101_64x4d": Published(arch=_resnet("resnext64x4d", 3, 4, 23, 3), paper=_RESNEXT),
}


def published(name: str) -> Published:
    """Return the backbone of this name. Raises: UsageError naming the nearest one."""
    if name not in PUBLISHED:
        raise UsageError(f"there is no backbone named {name!r}; {nearest(name, list(PUBLISHED))}")
    return PUBLISHED[name]
