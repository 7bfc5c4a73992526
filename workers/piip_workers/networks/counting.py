"""Counts the multiply-accumulates of a network by torch's operator counter."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted_macs(module: nn.Module, *inputs: Any) -> int:
    """MACs of a forward pass by torch's operator counter, including bilinear samples."""
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.grid_sampler_2d: _bilinear})
    module.eval()  # that of some backbones returns nothing
    with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):  # attention as matrix products, which are counted
        module(*inputs)
    return int(counter.get_total_flops() // 2)


def _bilinear(*_: Any, out_shape: Any, **__: Any) -> int:
    """Operations of bilinear samples: four products a sample and one for its weight, each counted twice."""
    return int(10 * math.prod(out_shape))
