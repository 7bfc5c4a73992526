"""Drop path (stochastic depth, arXiv 1603.09382).

Legend: B images.
"""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Randomly skips the residual of whole images in training, and scales others so that the mean is unchanged.

    The rate is a tensor: with a number, as in timm's, a compiler makes new kernels for every block with another rate.
    """

    keeps: Tensor

    def __init__(self, rate: float) -> None:
        """Prepares the module.

        Args:
            rate: Probability of skipping, in [0, 1).
        """
        super().__init__()
        self.rate = rate
        self._always = rate == 0
        self.register_buffer("keeps", torch.tensor(1.0 - rate), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The residual of each image or zeros, in the input's shape (B, ...)."""
        if self._always or not self.training:
            return x
        kept = x.new_empty((len(x), *(1 for _ in x.shape[1:]))).bernoulli_(self.keeps)
        return x * (kept / self.keeps)


def set_drop_path(block: nn.Module, rate: float) -> None:
    """Sets the drop-path rate of all residuals of a timm block."""
    for module in list(block.modules()):
        for name, _ in list(module.named_children()):
            if name.startswith("drop_path"):
                setattr(module, name, DropPath(rate))
