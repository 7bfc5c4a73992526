"""The fused kernel of `sampling`: a program reads all points of a block of queries in one head.

Forward, points, weights and samples live in registers alone. Backward, they are made again, and gradients of the values
are added up in float32 in global memory. Sums are in float32 whatever the values are in. Legend as in `sampling`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

QUERIES = 16
"""Queries a program; with four warps the quickest or nearly so of all shapes of PIIP-TSB, on an H200."""
WARPS = 4


def forward(value_BHWMD: Tensor, learnt_BNK: Tensor, sides: tuple[int, int]) -> Tensor:
    """What `sampling.sample` gives, shape (B, N, M, D).

    Args:
        value_BHWMD: What is read, contiguous.
        learnt_BNK: Offsets and scores, contiguous.
        sides: Height and width of the grid of queries.
    """
    B, H, W, M, D = value_BHWMD.shape
    N, P = learnt_BNK.shape[1], learnt_BNK.shape[2] // (3 * M)
    read_BNMD = value_BHWMD.new_empty(B, N, M, D)
    _forward[(triton.cdiv(N, QUERIES), B * M)](
        value_BHWMD, learnt_BNK, read_BNMD,
        N, *sides, H, W, M, D, P, QUERIES, triton.next_power_of_2(D), num_warps=WARPS,
    )  # fmt: skip
    return read_BNMD


def backward(
    grad_BNMD: Tensor, value_BHWMD: Tensor, learnt_BNK: Tensor, read_BNMD: Tensor, sides: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Gradients of values and of what is learnt, in their shapes and dtypes. All tensors are contiguous.

    Args:
        grad_BNMD: Of what was read.
        value_BHWMD: What was read from.
        learnt_BNK: Offsets and scores.
        read_BNMD: What was read.
        sides: Height and width of the grid of queries.
    """
    B, H, W, M, D = value_BHWMD.shape
    N, P = learnt_BNK.shape[1], learnt_BNK.shape[2] // (3 * M)
    value_grad = torch.zeros_like(value_BHWMD, dtype=torch.float32)
    learnt_grad = torch.empty_like(learnt_BNK)
    _backward[(triton.cdiv(N, QUERIES), B * M)](
        grad_BNMD, value_BHWMD, learnt_BNK, read_BNMD, value_grad, learnt_grad,
        N, *sides, H, W, M, D, P, QUERIES, triton.next_power_of_2(D), num_warps=WARPS,
    )  # fmt: skip
    return value_grad.to(value_BHWMD.dtype), learnt_grad


@triton.jit
def _peak_and_sum(scores, inside_N, P: tl.constexpr, BLOCK_N: tl.constexpr):
    """The largest score of a head's points, and the sum of their exponentials less it."""
    peak_N = tl.full((BLOCK_N,), float("-inf"), dtype=tl.float32)
    for p in tl.static_range(P):
        peak_N = tl.maximum(peak_N, tl.load(scores + p, mask=inside_N, other=0.0).to(tl.float32))
    sum_N = tl.zeros((BLOCK_N,), dtype=tl.float32)
    for p in tl.static_range(P):
        sum_N += tl.exp(tl.load(scores + p, mask=inside_N, other=0.0).to(tl.float32) - peak_N)
    return peak_N, sum_N


@triton.jit
def _pixel(offsets, p, n_N, inside_N, height, width, H, W):
    """Where a point of each query is, in tokens of what is read."""
    x_N = tl.load(offsets + 2 * p, mask=inside_N, other=0.0).to(tl.float32)
    y_N = tl.load(offsets + 2 * p + 1, mask=inside_N, other=0.0).to(tl.float32)
    centre_x_N = (n_N % width + 0.5) * (W * 1.0 / width) - 0.5
    centre_y_N = (n_N // width + 0.5) * (H * 1.0 / height) - 0.5
    return centre_x_N + x_N, centre_y_N + y_N


@triton.jit
def _place(x_N, y_N, inside_N, H, W):
    """Index of a token, and whether it exists."""
    exists_N = inside_N & (x_N >= 0) & (x_N < W) & (y_N >= 0) & (y_N < H)
    return tl.where(exists_N, y_N * W + x_N, 0.0).to(tl.int32), exists_N


@triton.jit(do_not_specialize=["height", "width", "H", "W"])
def _forward(
    value, learnt, read, N, height, width, H, W, M, D,
    P: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    b = (tl.program_id(1) // M).to(tl.int64)
    m = tl.program_id(1) % M
    n_N = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    d_D = tl.arange(0, BLOCK_D)
    inside_N, inside_D = n_N < N, d_D < D
    offsets = learnt + (b * N + n_N) * (3 * M * P) + m * (2 * P)
    scores = learnt + (b * N + n_N) * (3 * M * P) + (2 * M + m) * P
    value += (b * H * W * M + m) * D
    peak_N, sum_N = _peak_and_sum(scores, inside_N, P, BLOCK_N)
    total_ND = tl.zeros((BLOCK_N, BLOCK_D), dtype=tl.float32)
    for p in tl.static_range(P):
        x_N, y_N = _pixel(offsets, p, n_N, inside_N, height, width, H, W)
        weight_N = tl.exp(tl.load(scores + p, mask=inside_N, other=0.0).to(tl.float32) - peak_N) / sum_N
        for corner in tl.static_range(4):
            corner_x_N = tl.floor(x_N) + corner % 2
            corner_y_N = tl.floor(y_N) + corner // 2
            share_N = (1 - tl.abs(x_N - corner_x_N)) * (1 - tl.abs(y_N - corner_y_N))
            place_N, exists_N = _place(corner_x_N, corner_y_N, inside_N, H, W)
            value_ND = tl.load(
                value + place_N[:, None] * (M * D) + d_D[None, :],
                mask=exists_N[:, None] & inside_D[None, :],
                other=0.0,
            )
            total_ND += (weight_N * share_N)[:, None] * value_ND.to(tl.float32)
    row_N = (b * N + n_N) * M + m
    tl.store(read + row_N[:, None] * D + d_D[None, :], total_ND, mask=inside_N[:, None] & inside_D[None, :])


@triton.jit(do_not_specialize=["height", "width", "H", "W"])
def _backward(
    grad, value, learnt, read, value_grad, learnt_grad, N, height, width, H, W, M, D,
    P: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    b = (tl.program_id(1) // M).to(tl.int64)
    m = tl.program_id(1) % M
    n_N = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    d_D = tl.arange(0, BLOCK_D)
    inside_N, inside_D = n_N < N, d_D < D
    offset_N = (b * N + n_N) * (3 * M * P) + m * (2 * P)
    score_N = (b * N + n_N) * (3 * M * P) + (2 * M + m) * P
    value += (b * H * W * M + m) * D
    value_grad += (b * H * W * M + m) * D
    at_ND = ((b * N + n_N) * M + m)[:, None] * D + d_D[None, :]
    inside_ND = inside_N[:, None] & inside_D[None, :]
    grad_ND = tl.load(grad + at_ND, mask=inside_ND, other=0.0).to(tl.float32)
    # Of a softmax, a score's gradient is its weight times what its sample adds, less the mean of that over all points:
    # which is the gradient times what was read.
    mean_N = tl.sum(grad_ND * tl.load(read + at_ND, mask=inside_ND, other=0.0).to(tl.float32), axis=1)
    peak_N, sum_N = _peak_and_sum(learnt + score_N, inside_N, P, BLOCK_N)
    for p in tl.static_range(P):
        x_N, y_N = _pixel(learnt + offset_N, p, n_N, inside_N, height, width, H, W)
        weight_N = tl.exp(tl.load(learnt + score_N + p, mask=inside_N, other=0.0).to(tl.float32) - peak_N) / sum_N
        sample_N = tl.zeros((BLOCK_N,), dtype=tl.float32)
        x_grad_N = tl.zeros((BLOCK_N,), dtype=tl.float32)
        y_grad_N = tl.zeros((BLOCK_N,), dtype=tl.float32)
        for corner in tl.static_range(4):
            corner_x_N = tl.floor(x_N) + corner % 2
            corner_y_N = tl.floor(y_N) + corner // 2
            share_x_N = 1 - tl.abs(x_N - corner_x_N)
            share_y_N = 1 - tl.abs(y_N - corner_y_N)
            place_N, exists_N = _place(corner_x_N, corner_y_N, inside_N, H, W)
            there_ND = place_N[:, None] * (M * D) + d_D[None, :]
            known_ND = exists_N[:, None] & inside_D[None, :]
            value_ND = tl.load(value + there_ND, mask=known_ND, other=0.0).to(tl.float32)
            along_N = tl.sum(value_ND * grad_ND, axis=1)
            sample_N += share_x_N * share_y_N * along_N
            x_grad_N += (2 * (corner % 2) - 1) * share_y_N * along_N
            y_grad_N += (2 * (corner // 2) - 1) * share_x_N * along_N
            added_ND = (weight_N * share_x_N * share_y_N)[:, None] * grad_ND
            tl.atomic_add(value_grad + there_ND, added_ND, mask=known_ND, sem="relaxed")
        tl.store(learnt_grad + offset_N + 2 * p, weight_N * x_grad_N, mask=inside_N)
        tl.store(learnt_grad + offset_N + 2 * p + 1, weight_N * y_grad_N, mask=inside_N)
        tl.store(learnt_grad + score_N + p, weight_N * (sample_N - mean_N), mask=inside_N)
