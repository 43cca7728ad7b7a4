"""An exponential moving average of the weights: less noisy than the last ones, and what is evaluated and kept."""

import torch
from torch import Tensor, nn


class Average:
    """Holds the averages; integer buffers are copied. Decay grows as (1 + t) / (10 + t) up to its value. With a decay
    of 0 the weights are their own average, and `values` is empty."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.step = 0
        self.values = {name: value.detach().clone() for name, value in module.state_dict().items()} if decay else {}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's present weights."""
        if not self.values:
            return
        share = 1 - min(self.decay, (1 + self.step) / (10 + self.step))
        self.step += 1
        mine: list[Tensor] = []
        theirs: list[Tensor] = []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                mine.append(self.values[name])
                theirs.append(value)
            else:
                self.values[name].copy_(value)
        torch._foreach_lerp_(mine, theirs, share)

    def give(self, module: nn.Module) -> None:
        """Put the averages into `module`."""
        if self.values:
            module.load_state_dict(self.values)
