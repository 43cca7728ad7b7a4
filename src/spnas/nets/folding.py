"""Batch norms put into the convolutions before them: what a net that has done learning computes, in fewer passes."""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(module: nn.Module) -> nn.Module:
    """Return a copy of `module`, for evaluation, without its BNs; weights of everything else are shared with it.

    What it puts out is equal within rounding; where a BN's weight is zero, it is exactly equal.
    """
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return fold_norms(copy.deepcopy(module, shared).eval())


def fold_norms(module: nn.Module) -> nn.Module:
    """Put every BN that follows a convolution into that convolution, in place; `module` is in evaluation mode."""
    for part in module.modules():
        if isinstance(part, nn.Sequential):
            for i in range(len(part) - 1):
                conv, norm = part[i], part[i + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    part[i], part[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return module
