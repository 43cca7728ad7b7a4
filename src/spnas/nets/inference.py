"""A net that has done learning, made to compute the same, within rounding, in fewer passes over memory."""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spnas.nets.regions import RegionHead


def inference_copy(module: nn.Module) -> nn.Module:
    """Return a copy of `module` that `optimise_for_inference` changed; weights that stay as they are are shared.

    Where a BN's weight is zero, what it puts out is exactly equal.
    """
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return optimise_for_inference(copy.deepcopy(module, shared))


def optimise_for_inference(module: nn.Module) -> nn.Module:
    """Put `module` into evaluation mode, its BNs into convolutions, and the weights of its heads into the order of
    what they pool, all in place: it neither learns nor loads weights any more."""
    fold_norms(module.eval())
    for part in module.modules():
        if isinstance(part, RegionHead):
            part.take_bins_first()
    return module


def fold_norms(module: nn.Module) -> nn.Module:
    """Put every BN that follows a convolution into that convolution, in place; `module` is in evaluation mode."""
    for part in module.modules():
        if isinstance(part, nn.Sequential):
            for i in range(len(part) - 1):
                conv, norm = part[i], part[i + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    part[i], part[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return module
