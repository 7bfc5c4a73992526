"""The kernels of `depthwise` for tokens in their usual layout, with all rows of all images in sequence.

Sums are in float32 for any dtype of the tokens, and in a fixed order. Legend as in `depthwise`; T tokens of a program.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

DEPTHWISE_ELEMENTS = 1024
"""Elements of a program at a time: eight a thread."""
MOST_CHANNELS = 64
"""Most channels of a program."""
GRADIENT_STEPS = 4
"""Blocks of tokens that a program sums for the gradients of weights."""


def forward(x_BHWC: Tensor, weight_C133: Tensor, bias_C: Tensor) -> Tensor:
    """The convolution, shape (B, H, W, C); all tensors are contiguous."""
    y_BHWC = torch.empty_like(x_BHWC)
    _slide(x_BHWC, weight_C133, bias_C, y_BHWC, flipped=False)
    return y_BHWC


def backward(grad_BHWC: Tensor, x_BHWC: Tensor, weight_C133: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of tokens, weights and bias, the latter in the weights' dtype; all tensors are contiguous.

    Args:
        grad_BHWC: Gradient of the convolution's output.
        x_BHWC: Tokens.
        weight_C133: Weights.
    """
    x_grad_BHWC = torch.empty_like(x_BHWC)
    _slide(grad_BHWC, weight_C133, None, x_grad_BHWC, flipped=True)
    _, H, W, C = x_BHWC.shape
    count, block_T, block_C = _blocks(x_BHWC)
    parts_S10C = x_BHWC.new_empty(triton.cdiv(count, GRADIENT_STEPS * block_T), 10, C, dtype=torch.float32)
    grid = (len(parts_S10C), triton.cdiv(C, block_C))
    _weigh[grid](grad_BHWC, x_BHWC, parts_S10C, count, H, W, C, GRADIENT_STEPS, block_T, block_C)
    sums_10C = parts_S10C.sum(0).to(weight_C133.dtype)
    return x_grad_BHWC, sums_10C[:9].t().contiguous().view_as(weight_C133), sums_10C[9]


def _slide(x_BHWC: Tensor, weight_C133: Tensor, bias_C: Tensor | None, y_BHWC: Tensor, flipped: bool) -> None:
    _, H, W, C = x_BHWC.shape
    count, block_T, block_C = _blocks(x_BHWC)
    grid = (triton.cdiv(count, block_T), triton.cdiv(C, block_C))
    _convolve[grid](x_BHWC, weight_C133, bias_C, y_BHWC, count, H, W, C, flipped, bias_C is not None, block_T, block_C)


def _blocks(x_BHWC: Tensor) -> tuple[int, int, int]:
    """Tokens, and tokens and channels of a program."""
    B, H, W, C = x_BHWC.shape
    block_C = min(triton.next_power_of_2(C), MOST_CHANNELS)
    return B * H * W, DEPTHWISE_ELEMENTS // block_C, block_C


@triton.jit
def _neighbour(x, t_T, c_C, inside_T, inside_C, H, W, down, right, C: tl.constexpr):
    """The tokens so many rows below and columns to the right, zeros outside the grid."""
    row_T, column_T = t_T // W % H + down, t_T % W + right
    exists_T = inside_T & (row_T >= 0) & (row_T < H) & (column_T >= 0) & (column_T < W)
    there_TC = (t_T + down * W + right).to(tl.int64)[:, None] * C + c_C[None, :]
    return tl.load(x + there_TC, mask=exists_T[:, None] & inside_C[None, :], other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["count", "H", "W"])
def _convolve(
    x,
    weight,
    bias,
    y,
    count,
    H,
    W,
    C: tl.constexpr,
    FLIPPED: tl.constexpr,
    BIASED: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    t_T = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    c_C = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_T, inside_C = t_T < count, c_C < C
    total_TC = tl.zeros((BLOCK_T, BLOCK_C), dtype=tl.float32)
    for place in tl.static_range(9):
        weight_C = tl.load(weight + c_C * 9 + (8 - place if FLIPPED else place), mask=inside_C, other=0.0)
        x_TC = _neighbour(x, t_T, c_C, inside_T, inside_C, H, W, place // 3 - 1, place % 3 - 1, C)
        total_TC += x_TC * weight_C.to(tl.float32)[None, :]
    if BIASED:
        total_TC += tl.load(bias + c_C, mask=inside_C, other=0.0).to(tl.float32)[None, :]
    here_TC = t_T.to(tl.int64)[:, None] * C + c_C[None, :]
    tl.store(y + here_TC, total_TC, mask=inside_T[:, None] & inside_C[None, :])


@triton.jit(do_not_specialize=["count", "H", "W"])
def _weigh(
    grad,
    x,
    parts,
    count,
    H,
    W,
    C: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The share of some tokens in the gradients of the nine weights and the bias of each channel."""
    c_C = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside_C = c_C < C
    parts += tl.program_id(0) * (10 * C)
    first = tl.program_id(0) * (STEPS * BLOCK_T)
    for place in tl.static_range(9):
        sum_TC = tl.zeros((BLOCK_T, BLOCK_C), dtype=tl.float32)
        bias_TC = tl.zeros((BLOCK_T, BLOCK_C), dtype=tl.float32)
        for step in tl.static_range(STEPS):
            t_T = first + step * BLOCK_T + tl.arange(0, BLOCK_T)
            inside_T = t_T < count
            here_TC = t_T.to(tl.int64)[:, None] * C + c_C[None, :]
            grad_TC = tl.load(grad + here_TC, mask=inside_T[:, None] & inside_C[None, :], other=0.0).to(tl.float32)
            x_TC = _neighbour(x, t_T, c_C, inside_T, inside_C, H, W, place // 3 - 1, place % 3 - 1, C)
            sum_TC += grad_TC * x_TC
            if place == 4:
                bias_TC += grad_TC
        tl.store(parts + place * C + c_C, tl.sum(sum_TC, axis=0), mask=inside_C)
        if place == 4:
            tl.store(parts + 9 * C + c_C, tl.sum(bias_TC, axis=0), mask=inside_C)
