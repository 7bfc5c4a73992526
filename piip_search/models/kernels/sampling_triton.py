"""The fused kernel of `sampling`: a program reads all points of some rows, where a row is a head of a query.

In the forward pass, points, weights and samples are only in registers. In the backward pass they are computed again,
and gradients of the values are summed in float32 in global memory. Sums are in float32 for any dtype of the values.
Legend as in `sampling`; R rows, query by query.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

SAMPLING_ELEMENTS = 512
"""Channels of all rows of a program: four a thread, moved together if a head has a multiple of four."""
WARPS = 4


def forward(value_BHWMD: Tensor, learnt_BNK: Tensor, sides: tuple[int, int]) -> Tensor:
    """The result of `sampling.sample`, shape (B, N, M, D).

    Args:
        value_BHWMD: Values to read, contiguous.
        learnt_BNK: Offsets and scores, contiguous.
        sides: Height and width of the grid of queries.
    """
    read_BNMD = value_BHWMD.new_empty(*learnt_BNK.shape[:2], *value_BHWMD.shape[3:])
    _launch(_forward, (value_BHWMD, learnt_BNK, read_BNMD), value_BHWMD, learnt_BNK, sides)
    return read_BNMD


def backward(
    grad_BNMD: Tensor, value_BHWMD: Tensor, learnt_BNK: Tensor, read_BNMD: Tensor, sides: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Gradients of values and learnt numbers, in their shapes and dtypes; all tensors are contiguous.

    Args:
        grad_BNMD: Gradient of the result.
        value_BHWMD: Values to read.
        learnt_BNK: Offsets and scores.
        read_BNMD: Result of the forward pass.
        sides: Height and width of the grid of queries.
    """
    value_grad = torch.zeros_like(value_BHWMD, dtype=torch.float32)
    learnt_grad = torch.empty_like(learnt_BNK)
    tensors = (grad_BNMD, value_BHWMD, learnt_BNK, read_BNMD, value_grad, learnt_grad)
    _launch(_backward, tensors, value_BHWMD, learnt_BNK, sides)
    return value_grad.to(value_BHWMD.dtype), learnt_grad


def _launch(
    kernel: Any, tensors: tuple[Tensor, ...], value_BHWMD: Tensor, learnt_BNK: Tensor, sides: tuple[int, int]
) -> None:
    B, H, W, M, D = value_BHWMD.shape
    N, P = learnt_BNK.shape[1], learnt_BNK.shape[2] // (3 * M)
    block_D = triton.next_power_of_2(D)
    block_R = max(1, SAMPLING_ELEMENTS // block_D)
    kernel[(triton.cdiv(N * M, block_R), B)](*tensors, N, *sides, H, W, M, D, P, block_R, block_D, num_warps=WARPS)


@triton.jit
def _peak_and_sum(scores, inside_R, P: tl.constexpr):
    """The largest score of a row's points, and the sum of the exponentials of the scores minus it."""
    peak_R = tl.load(scores, mask=inside_R, other=0.0).to(tl.float32)
    for p in tl.static_range(1, P):
        peak_R = tl.maximum(peak_R, tl.load(scores + p, mask=inside_R, other=0.0).to(tl.float32))
    sum_R = tl.zeros_like(peak_R)
    for p in tl.static_range(P):
        sum_R += tl.exp(tl.load(scores + p, mask=inside_R, other=0.0).to(tl.float32) - peak_R)
    return peak_R, sum_R


@triton.jit
def _pixel(offsets, p, n_R, inside_R, height, width, H, W):
    """Place of a point of each row, in tokens of the values' grid."""
    x_R = tl.load(offsets + 2 * p, mask=inside_R, other=0.0).to(tl.float32)
    y_R = tl.load(offsets + 2 * p + 1, mask=inside_R, other=0.0).to(tl.float32)
    centre_x_R = (n_R % width + 0.5) * (W * 1.0 / width) - 0.5
    centre_y_R = (n_R // width + 0.5) * (H * 1.0 / height) - 0.5
    return centre_x_R + x_R, centre_y_R + y_R


@triton.jit
def _place(x_R, y_R, inside_R, H, W):
    """Index of a token, and whether it exists."""
    exists_R = inside_R & (x_R >= 0) & (x_R < W) & (y_R >= 0) & (y_R < H)
    return tl.where(exists_R, y_R * W + x_R, 0.0).to(tl.int32), exists_R


# Heads and channels are constants, as only they show whether several neighbours can be moved together.
@triton.jit(do_not_specialize=["height", "width", "H", "W"])
def _forward(
    value,
    learnt,
    read,
    N,
    height,
    width,
    H,
    W,
    M: tl.constexpr,
    D: tl.constexpr,
    P: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    b = tl.program_id(1).to(tl.int64)
    row_R = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    d_D = tl.arange(0, BLOCK_D)
    inside_R, inside_D = row_R < N * M, d_D < D
    n_R, m_R = row_R // M, row_R % M
    learnt += b * N * (3 * M * P)
    offsets = learnt + n_R * (3 * M * P) + m_R * (2 * P)
    scores = learnt + n_R * (3 * M * P) + (2 * M + m_R) * P
    value += b * H * W * (M * D)
    peak_R, sum_R = _peak_and_sum(scores, inside_R, P)
    total_RD = tl.zeros((BLOCK_R, BLOCK_D), dtype=tl.float32)
    for p in tl.static_range(P):
        x_R, y_R = _pixel(offsets, p, n_R, inside_R, height, width, H, W)
        weight_R = tl.exp(tl.load(scores + p, mask=inside_R, other=0.0).to(tl.float32) - peak_R) / sum_R
        for corner in tl.static_range(4):
            corner_x_R = tl.floor(x_R) + corner % 2
            corner_y_R = tl.floor(y_R) + corner // 2
            share_R = (1 - tl.abs(x_R - corner_x_R)) * (1 - tl.abs(y_R - corner_y_R))
            place_R, exists_R = _place(corner_x_R, corner_y_R, inside_R, H, W)
            value_RD = tl.load(
                value + (place_R * (M * D) + m_R * D)[:, None] + d_D[None, :],
                mask=exists_R[:, None] & inside_D[None, :],
                other=0.0,
            )
            total_RD += (weight_R * share_R)[:, None] * value_RD.to(tl.float32)
    read += b * N * (M * D)
    tl.store(read + row_R[:, None] * D + d_D[None, :], total_RD, mask=inside_R[:, None] & inside_D[None, :])


@triton.jit(do_not_specialize=["height", "width", "H", "W"])
def _backward(
    grad,
    value,
    learnt,
    read,
    value_grad,
    learnt_grad,
    N,
    height,
    width,
    H,
    W,
    M: tl.constexpr,
    D: tl.constexpr,
    P: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    b = tl.program_id(1).to(tl.int64)
    row_R = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    d_D = tl.arange(0, BLOCK_D)
    inside_R, inside_D = row_R < N * M, d_D < D
    n_R, m_R = row_R // M, row_R % M
    learnt += b * N * (3 * M * P)
    learnt_grad += b * N * (3 * M * P)
    offset_R = n_R * (3 * M * P) + m_R * (2 * P)
    score_R = n_R * (3 * M * P) + (2 * M + m_R) * P
    value += b * H * W * (M * D)
    value_grad += b * H * W * (M * D)
    at_RD = b * N * (M * D) + row_R[:, None] * D + d_D[None, :]
    inside_RD = inside_R[:, None] & inside_D[None, :]
    grad_RD = tl.load(grad + at_RD, mask=inside_RD, other=0.0).to(tl.float32)
    # The gradient of a softmax's score is its weight times the difference of its sample's share and the mean of all
    # points' shares. The mean is the product of the gradient and the result.
    mean_R = tl.sum(grad_RD * tl.load(read + at_RD, mask=inside_RD, other=0.0).to(tl.float32), axis=1)
    peak_R, sum_R = _peak_and_sum(learnt + score_R, inside_R, P)
    for p in tl.static_range(P):
        x_R, y_R = _pixel(learnt + offset_R, p, n_R, inside_R, height, width, H, W)
        weight_R = tl.exp(tl.load(learnt + score_R + p, mask=inside_R, other=0.0).to(tl.float32) - peak_R) / sum_R
        sample_R = tl.zeros((BLOCK_R,), dtype=tl.float32)
        x_grad_R = tl.zeros((BLOCK_R,), dtype=tl.float32)
        y_grad_R = tl.zeros((BLOCK_R,), dtype=tl.float32)
        for corner in tl.static_range(4):
            corner_x_R = tl.floor(x_R) + corner % 2
            corner_y_R = tl.floor(y_R) + corner // 2
            share_x_R = 1 - tl.abs(x_R - corner_x_R)
            share_y_R = 1 - tl.abs(y_R - corner_y_R)
            place_R, exists_R = _place(corner_x_R, corner_y_R, inside_R, H, W)
            there_RD = (place_R * (M * D) + m_R * D)[:, None] + d_D[None, :]
            known_RD = exists_R[:, None] & inside_D[None, :]
            value_RD = tl.load(value + there_RD, mask=known_RD, other=0.0).to(tl.float32)
            along_R = tl.sum(value_RD * grad_RD, axis=1)
            sample_R += share_x_R * share_y_R * along_R
            x_grad_R += (2 * (corner % 2) - 1) * share_y_R * along_R
            y_grad_R += (2 * (corner // 2) - 1) * share_x_R * along_R
            added_RD = (weight_R * share_x_R * share_y_R)[:, None] * grad_RD
            tl.atomic_add(value_grad + there_RD, added_RD, mask=known_RD, sem="relaxed")
        tl.store(learnt_grad + offset_R + 2 * p, weight_R * x_grad_R, mask=inside_R)
        tl.store(learnt_grad + offset_R + 2 * p + 1, weight_R * y_grad_R, mask=inside_R)
        tl.store(learnt_grad + score_R + p, weight_R * (sample_R - mean_R), mask=inside_R)
