"""How what is not pre-trained starts: as in the authors' repository (OpenGVLab/PIIP @ 7a8eceb, `_init_weights`)."""

import math

from torch import nn


def initialise(module: nn.Module) -> None:
    """For `nn.Module.apply`: weights of linear layers and convolutions, biases at zero.

    Linear layers, and convolutions of 1x1 that stand for them on a map: normal, deviation 0.02. Other convolutions and
    transposed ones: normal, deviation sqrt(2 / n), with n the kernel's area times the channels that leave, by group.
    Norms start as torch's do.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and (area := math.prod(module.kernel_size)) > 1:
        nn.init.normal_(module.weight, std=math.sqrt(2 * module.groups / (area * module.out_channels)))
    elif isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
