"""Random initialisation as in the authors' repository (OpenGVLab/PIIP @ 7a8eceb, `_init_weights`)."""

import math

from torch import nn


def initialise(module: nn.Module) -> None:
    """Initialises weights of linear layers and convolutions, and sets biases to zero; for `nn.Module.apply`.

    Linear layers, and 1x1 convolutions in their place: normal, deviation 0.02. Other and transposed convolutions:
    normal, deviation sqrt(2 / n), where n is the kernel's area times the output channels, by group. Norms keep torch's
    initialisation.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and (area := math.prod(module.kernel_size)) > 1:
        nn.init.normal_(module.weight, std=math.sqrt(2 * module.groups / (area * module.out_channels)))
    elif isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
