"""Sampling of deformable attention: bilinear reads at learnt points, summed with learnt weights.

Two implementations give the same numbers: torch's `grid_sample`, which runs anywhere, and one fused kernel for GPUs,
which never writes points, weights or samples to memory.

Legend: B images, H W grid of tokens, M heads, D channels of a head's values, N = H W queries, P points; K = 3 M P
learnt numbers of a query, b = B M.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, library

from piip_search.models.kernels.dispatch import uses_kernel


class TokenGrid(NamedTuple):
    """The places of a branch's tokens, in an image with edges at -1 and 1; x before y, float32 at least.

    Attributes:
        sides: Height and width in tokens.
        centres_N2: Centres of the tokens.
        token_2: Width and height of a token.
    """

    sides: tuple[int, int]
    centres_N2: Tensor
    token_2: Tensor


Grids = tuple[TokenGrid, TokenGrid]
"""Grid of the reader, and grid that is read."""


def grid_of(x_BHWC: Tensor) -> TokenGrid:
    """The grid of a branch's tokens; all interactions on that grid share it, so a forward pass makes it once."""
    height, width = x_BHWC.shape[1:3]
    exact, device = torch.promote_types(x_BHWC.dtype, torch.float32), x_BHWC.device
    y_H = (torch.arange(height, dtype=exact, device=device) + 0.5) * (2 / height) - 1
    x_W = (torch.arange(width, dtype=exact, device=device) + 0.5) * (2 / width) - 1
    y_HW, x_HW = torch.meshgrid(y_H, x_W, indexing="ij")
    # The two numbers are filled in on the device: a copy would make the host wait.
    token_2 = torch.cat([torch.full((1,), 2 / side, dtype=exact, device=device) for side in (width, height)])
    return TokenGrid((height, width), torch.stack([x_HW, y_HW], -1).flatten(0, 1), token_2)


def sample(value_BHWMD: Tensor, learnt_BNK: Tensor, grids: Grids) -> Tensor:
    """The samples' sum for every query and head (Deformable DETR, arXiv 2010.04159, eq. 2), shape (B, N, M, D).

    Args:
        value_BHWMD: Values to read, shape (B, H, W, M, D); zeros outside.
        learnt_BNK: For each query an offset for each point of each head, x before y, in tokens of the values' grid;
            then a score for each, before a softmax over a head's points. Shape (B, N, 2 M P + M P).
        grids: Grids of queries and values.

    Returns:
        There is one level. Sums are in the dtype of the values; places and weights are computed in float32 at least.
    """
    # Gradients of values are sums in no fixed order, as for torch's own `grid_sample` on GPUs.
    if not uses_kernel(value_BHWMD, in_order=False, spares=True):
        return portable(value_BHWMD, learnt_BNK, grids)
    height, width = grids[0].sides
    arguments = value_BHWMD.contiguous(), learnt_BNK.contiguous(), height, width
    # A custom operator costs the host more a call, and only compilers need one.
    read_BNMD: Tensor = fused(*arguments) if torch.compiler.is_compiling() else Fused.apply(*arguments)  # type: ignore[no-untyped-call]
    return read_BNMD


def portable(value_BHWMD: Tensor, learnt_BNK: Tensor, grids: Grids) -> Tensor:
    """The samples' sum by torch's `grid_sample`, with all heads and points in one call."""
    B, _, _, M, D = value_BHWMD.shape
    N, P = learnt_BNK.shape[1], learnt_BNK.shape[2] // (3 * M)
    centres_N2, exact = grids[0].centres_N2, grids[0].centres_N2.dtype
    offsets_BNx, scores_BNx = learnt_BNK.split([2 * M * P, M * P], -1)
    points_BNMP2 = centres_N2.view(1, N, 1, 1, 2) + offsets_BNx.to(exact).view(B, N, M, P, 2) * grids[1].token_2
    # Queries are adjacent in memory: a softmax and a sum over few adjacent values take twice the time.
    weights_BMPN = scores_BNx.to(exact).view(B, N, M, P).permute(0, 2, 3, 1).contiguous().softmax(2)
    value_bDHW = value_BHWMD.to(exact).permute(0, 3, 4, 1, 2).flatten(0, 1)
    grid_bPN2 = points_BNMP2.permute(0, 2, 3, 1, 4).flatten(0, 1)
    sampled_bDPN = F.grid_sample(value_bDHW, grid_bPN2, mode="bilinear", padding_mode="zeros", align_corners=False)
    read_BMDN = (sampled_bDPN * weights_BMPN.view(B * M, 1, P, N)).sum(2).view(B, M, D, N)
    read_BNMD: Tensor = read_BMDN.permute(0, 3, 1, 2).to(value_BHWMD.dtype)
    return read_BNMD


class Fused(torch.autograd.Function):
    """The samples' sum by the fused kernel, for contiguous tensors."""

    @staticmethod
    def forward(value: Tensor, learnt: Tensor, height: int, width: int) -> Tensor:
        from piip_search.models.kernels import sampling_triton  # imports Triton only where the kernel runs

        return sampling_triton.forward(value, learnt, (height, width))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        value, learnt, ctx.height, ctx.width = inputs
        ctx.save_for_backward(value, learnt, output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        from piip_search.models.kernels import sampling_triton

        value, learnt, read = ctx.saved_tensors
        gradients = sampling_triton.backward(grad.contiguous(), value, learnt, read, (ctx.height, ctx.width))
        return (*gradients, None, None)


@library.custom_op("piip_search::deformable_sample", mutates_args=())
def fused(value: Tensor, learnt: Tensor, height: int, width: int) -> Tensor:
    """The samples' sum by the fused kernel, as an operator that `torch.compile` leaves whole."""
    return Fused.forward(value, learnt, height, width)


@library.custom_op("piip_search::deformable_sample_backward", mutates_args=())
def fused_backward(
    grad: Tensor, value: Tensor, learnt: Tensor, read: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to values and learnt numbers."""
    from piip_search.models.kernels import sampling_triton

    return sampling_triton.backward(grad.contiguous(), value, learnt, read, (height, width))


@fused.register_fake
def _(value: Tensor, learnt: Tensor, height: int, width: int) -> Tensor:
    return value.new_empty(value.shape[0], learnt.shape[1], *value.shape[3:])


@fused_backward.register_fake
def _(grad: Tensor, value: Tensor, learnt: Tensor, read: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    return torch.empty_like(value), torch.empty_like(learnt)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
    return (*fused_backward(grad, *ctx.saved_tensors, ctx.height, ctx.width), None, None)


fused.register_autograd(_backward, setup_context=Fused.setup_context)
