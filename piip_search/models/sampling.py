"""Sampling of deformable attention: bilinear reads at learnt points, summed with learnt weights.

Two ways to the same numbers: torch's `grid_sample`, which runs anywhere, and one fused kernel for GPUs, which never
writes the samples to memory.

Legend: B images, H W grid of tokens that are read, M heads, D channels of a head's values, N queries, P points;
b = B M.
"""

import importlib.util
import os

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import custom_op

VARIABLE = "PIIP_SEARCH_SAMPLING"
WISHES = ("auto", "portable", "fused")
_HAS_TRITON = importlib.util.find_spec("triton") is not None


def _wish() -> str:
    wish = os.environ.get(VARIABLE, "auto")
    if wish not in WISHES:
        raise ValueError(f"the environment variable {VARIABLE} must be one of {', '.join(WISHES)}, got {wish!r}")
    return wish


WISH = _wish()
"""How to sample: the environment variable `PIIP_SEARCH_SAMPLING`, read once. `portable` and `fused` force one way."""


def sample(value_BHWMD: Tensor, points_BNMP2: Tensor, scores_BNMP: Tensor) -> Tensor:
    """What every query reads in every head (Deformable DETR, arXiv 2010.04159, eq. 2, one level), shape (B, N, M, D).

    Args:
        value_BHWMD: What is read, shape (B, H, W, M, D).
        points_BNMP2: Where, as x and y, -1 and 1 at the outer edges of the grid; outside of it there are zeros. Shape
            (B, N, M, P, 2).
        scores_BNMP: Weight of each point before a softmax over the points, shape (B, N, M, P).

    Returns:
        Sums in the dtype of the values.
    """
    if uses_kernel(value_BHWMD, WISH):
        read: Tensor = fused(value_BHWMD.contiguous(), points_BNMP2.contiguous(), scores_BNMP.softmax(-1))
        return read
    # Queries side by side in memory: a softmax and a sum over a few neighbours in memory take twice the time.
    weights_BMPN = scores_BNMP.permute(0, 2, 3, 1).contiguous().softmax(2)
    return portable(value_BHWMD, points_BNMP2, weights_BMPN.permute(0, 3, 1, 2))


def uses_kernel(value: Tensor, wish: str = "auto") -> bool:
    """Whether the fused kernel samples these values.

    Left to itself it does on GPUs where Triton is installed, but for float64 and where torch is asked for deterministic
    algorithms: gradients of the values are sums in no fixed order, as those of torch's own `grid_sample` on GPUs are.
    """
    if wish != "auto":
        return wish == "fused"
    return (
        _HAS_TRITON
        and value.is_cuda
        and value.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and not torch.are_deterministic_algorithms_enabled()
    )


def portable(value_BHWMD: Tensor, points_BNMP2: Tensor, weights_BNMP: Tensor) -> Tensor:
    """The weighted sum by torch's `grid_sample`, all heads and points in one call, in the dtype of the points.

    Args:
        value_BHWMD: As in `sample`.
        points_BNMP2: As in `sample`.
        weights_BNMP: Weight of each point, shape (B, N, M, P).
    """
    B, N, M, P = weights_BNMP.shape
    value_bDHW = value_BHWMD.to(points_BNMP2.dtype).permute(0, 3, 4, 1, 2).flatten(0, 1)
    grid_bPN2 = points_BNMP2.permute(0, 2, 3, 1, 4).flatten(0, 1)
    sampled_bDPN = F.grid_sample(value_bDHW, grid_bPN2, mode="bilinear", padding_mode="zeros", align_corners=False)
    weights_b1PN = weights_BNMP.permute(0, 2, 3, 1).reshape(B * M, 1, P, N)
    read_BMDN = (sampled_bDPN * weights_b1PN).sum(2).view(B, M, value_BHWMD.shape[-1], N)
    return read_BMDN.permute(0, 3, 1, 2).to(value_BHWMD.dtype)


@custom_op("piip_search::deformable_sample", mutates_args=())
def fused(value: Tensor, points: Tensor, weights: Tensor) -> Tensor:
    """The same by the fused kernel, of contiguous tensors. An operator of torch's, so that `torch.compile` takes it."""
    from piip_search.models import sampling_triton  # Triton is imported where a kernel runs

    return sampling_triton.forward(value, points, weights)


@custom_op("piip_search::deformable_sample_backward", mutates_args=())
def fused_backward(grad: Tensor, value: Tensor, points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of values, points and weights."""
    from piip_search.models import sampling_triton

    return sampling_triton.backward(grad.contiguous(), value, points, weights)


@fused.register_fake
def _(value: Tensor, points: Tensor, weights: Tensor) -> Tensor:
    B, N, M, _ = weights.shape
    return value.new_empty(B, N, M, value.shape[-1])


@fused_backward.register_fake
def _(grad: Tensor, value: Tensor, points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(value), torch.empty_like(points), torch.empty_like(weights)


def _keep(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor, Tensor] = fused_backward(grad, *ctx.saved_tensors)  # type: ignore[attr-defined]
    return gradients


fused.register_autograd(_backward, setup_context=_keep)
