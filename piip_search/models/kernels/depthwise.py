"""Depthwise 3x3 convolutions of a grid of tokens, by torch or by a GPU kernel that keeps the tokens' layout.

Around a convolution of torch's, `torch.compile` treats the second axis of all tokens as channels and changes their
layout. This makes norms and residuals slow.

Legend: B images, H W grid of tokens, C channels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, library

from piip_search.models.kernels.dispatch import uses_kernel


def depthwise(x_BHWC: Tensor, weight_C133: Tensor, bias_C: Tensor) -> Tensor:
    """The convolution with zero padding, shape (B, H, W, C).

    Args:
        x_BHWC: Tokens.
        weight_C133: Weights of each channel, as in `nn.Conv2d`.
        bias_C: Bias of each channel.
    """
    if not uses_kernel(x_BHWC, in_order=True, spares=False):
        x_BCHW = F.conv2d(x_BHWC.permute(0, 3, 1, 2), weight_C133, bias_C, padding=1, groups=len(bias_C))
        return x_BCHW.permute(0, 2, 3, 1)
    y_BHWC: Tensor = fused(x_BHWC.contiguous(), weight_C133.contiguous(), bias_C)
    return y_BHWC


@library.custom_op("piip_search::depthwise", mutates_args=())
def fused(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution by the kernel, for contiguous tensors; an operator that `torch.compile` leaves whole."""
    from piip_search.models.kernels import depthwise_triton  # imports Triton only where the kernel runs

    return depthwise_triton.forward(x, weight, bias)


@library.custom_op("piip_search::depthwise_backward", mutates_args=())
def fused_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to tokens, weights and bias."""
    from piip_search.models.kernels import depthwise_triton

    return depthwise_triton.backward(grad.contiguous(), x, weight)


@fused.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.empty_like(x)


@fused_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight), weight.new_empty(len(weight))


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    x, weight, bias = inputs
    ctx.save_for_backward(x, weight)
    ctx.bias_dtype = bias.dtype


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x_grad, weight_grad, bias_grad = fused_backward(grad, *ctx.saved_tensors)
    return x_grad, weight_grad, bias_grad.to(ctx.bias_dtype)


fused.register_autograd(_backward, setup_context=_setup)
