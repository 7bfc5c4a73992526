"""The fused kernel of `sampling`: a program reads all points of a block of queries in one head.

Forward, samples live in registers alone. Backward, they are read again, and gradients of the values are added up in
float32 in global memory. Sums are in float32 whatever the values are in. Legend as in `sampling`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

QUERIES = 32
"""Queries a program."""


def forward(value_BHWMD: Tensor, points_BNMP2: Tensor, weights_BNMP: Tensor) -> Tensor:
    """What `sampling.sample` gives, shape (B, N, M, D). All tensors are contiguous."""
    B, H, W, M, D = value_BHWMD.shape
    N, P = weights_BNMP.shape[1], weights_BNMP.shape[-1]
    read_BNMD = value_BHWMD.new_empty(B, N, M, D)
    _forward[(triton.cdiv(N, QUERIES), B * M)](
        value_BHWMD, points_BNMP2, weights_BNMP, read_BNMD,
        N, H, W, M, D, P, QUERIES, triton.next_power_of_2(D),
    )  # fmt: skip
    return read_BNMD


def backward(
    grad_BNMD: Tensor, value_BHWMD: Tensor, points_BNMP2: Tensor, weights_BNMP: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of values, points and weights, in their shapes and dtypes. All tensors are contiguous."""
    B, H, W, M, D = value_BHWMD.shape
    N, P = weights_BNMP.shape[1], weights_BNMP.shape[-1]
    value_grad = torch.zeros_like(value_BHWMD, dtype=torch.float32)
    points_grad, weights_grad = torch.empty_like(points_BNMP2), torch.empty_like(weights_BNMP)
    _backward[(triton.cdiv(N, QUERIES), B * M)](
        grad_BNMD, value_BHWMD, points_BNMP2, weights_BNMP, value_grad, points_grad, weights_grad,
        N, H, W, M, D, P, QUERIES, triton.next_power_of_2(D),
    )  # fmt: skip
    return value_grad.to(value_BHWMD.dtype), points_grad, weights_grad


@triton.jit
def _pixel(points, at_N, inside_N, H, W):
    """Pixel coordinates of a point of each query."""
    x_N = tl.load(points + 2 * at_N, mask=inside_N, other=0.0).to(tl.float32)
    y_N = tl.load(points + 2 * at_N + 1, mask=inside_N, other=0.0).to(tl.float32)
    return (x_N + 1) * (W * 0.5) - 0.5, (y_N + 1) * (H * 0.5) - 0.5


@triton.jit
def _place(x_N, y_N, inside_N, H, W):
    """Index of a token, and whether it exists."""
    exists_N = inside_N & (x_N >= 0) & (x_N < W) & (y_N >= 0) & (y_N < H)
    return tl.where(exists_N, y_N * W + x_N, 0.0).to(tl.int32), exists_N


@triton.jit
def _forward(
    value, points, weights, read, N, H, W, M, D,
    P: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    b = (tl.program_id(1) // M).to(tl.int64)
    m = tl.program_id(1) % M
    n_N = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    d_D = tl.arange(0, BLOCK_D)
    inside_N, inside_D = n_N < N, d_D < D
    row_N = (b * N + n_N) * M + m
    value += (b * H * W * M + m) * D
    total_ND = tl.zeros((BLOCK_N, BLOCK_D), dtype=tl.float32)
    for p in tl.static_range(P):
        x_N, y_N = _pixel(points, row_N * P + p, inside_N, H, W)
        weight_N = tl.load(weights + row_N * P + p, mask=inside_N, other=0.0).to(tl.float32)
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
    tl.store(read + row_N[:, None] * D + d_D[None, :], total_ND, mask=inside_N[:, None] & inside_D[None, :])


@triton.jit
def _backward(
    grad, value, points, weights, value_grad, points_grad, weights_grad, N, H, W, M, D,
    P: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    b = (tl.program_id(1) // M).to(tl.int64)
    m = tl.program_id(1) % M
    n_N = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    d_D = tl.arange(0, BLOCK_D)
    inside_N, inside_D = n_N < N, d_D < D
    row_N = (b * N + n_N) * M + m
    value += (b * H * W * M + m) * D
    value_grad += (b * H * W * M + m) * D
    grad_ND = tl.load(
        grad + row_N[:, None] * D + d_D[None, :], mask=inside_N[:, None] & inside_D[None, :], other=0.0
    ).to(tl.float32)
    for p in tl.static_range(P):
        x_N, y_N = _pixel(points, row_N * P + p, inside_N, H, W)
        weight_N = tl.load(weights + row_N * P + p, mask=inside_N, other=0.0).to(tl.float32)
        weight_grad_N = tl.zeros((BLOCK_N,), dtype=tl.float32)
        x_grad_N = tl.zeros((BLOCK_N,), dtype=tl.float32)
        y_grad_N = tl.zeros((BLOCK_N,), dtype=tl.float32)
        for corner in tl.static_range(4):
            corner_x_N = tl.floor(x_N) + corner % 2
            corner_y_N = tl.floor(y_N) + corner // 2
            share_x_N = 1 - tl.abs(x_N - corner_x_N)
            share_y_N = 1 - tl.abs(y_N - corner_y_N)
            place_N, exists_N = _place(corner_x_N, corner_y_N, inside_N, H, W)
            at_ND = place_N[:, None] * (M * D) + d_D[None, :]
            known_ND = exists_N[:, None] & inside_D[None, :]
            value_ND = tl.load(value + at_ND, mask=known_ND, other=0.0).to(tl.float32)
            along_N = tl.sum(value_ND * grad_ND, axis=1)
            weight_grad_N += share_x_N * share_y_N * along_N
            x_grad_N += (2 * (corner % 2) - 1) * share_y_N * along_N
            y_grad_N += (2 * (corner // 2) - 1) * share_x_N * along_N
            tl.atomic_add(
                value_grad + at_ND, (weight_N * share_x_N * share_y_N)[:, None] * grad_ND, mask=known_ND, sem="relaxed"
            )
        at_N = row_N * P + p
        tl.store(weights_grad + at_N, weight_grad_N, mask=inside_N)
        tl.store(points_grad + 2 * at_N, weight_N * x_grad_N * (W * 0.5), mask=inside_N)
        tl.store(points_grad + 2 * at_N + 1, weight_N * y_grad_N * (H * 0.5), mask=inside_N)
