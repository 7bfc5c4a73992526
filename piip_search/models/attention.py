"""Self-attention of ViT branches, in windows or over the whole grid.

Legend: B images, H W grid of tokens, N tokens, K windows, C channels, M heads; h and w are the sides of a window.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piip_search.architecture.backbones import Transformer
from piip_search.models._torchvision import import_torchvision

import_torchvision()
from timm.layers import RmsNorm  # noqa: E402


def attend(attention: Any, x_BHWC: Tensor, window: int | None) -> Tensor:
    """Self-attention in windows that neither overlap nor shift, or over all tokens; shape (B, H, W, C).

    Args:
        attention: Projections, norms and heads; timm's own, or with the same parts.
        x_BHWC: Tokens.
        window: Side of a window in tokens; None for global attention.
    """
    read_BHWC = read_windows(attention, x_BHWC, attention.qkv.weight, _projection_bias(attention), window)
    output_BHWC: Tensor = attention.proj(attention.norm(read_BHWC))
    return output_BHWC


def read_windows(heads: Any, x_BHWC: Tensor, weight: Tensor, bias: Tensor | None, window: int | None) -> Tensor:
    """The attention's result before its output projection; shape (B, H, W, C).

    The authors pad windows with zeros before the projections and do not mask them. The projection of a zero is the
    bias. So only real tokens are projected here, and windows are padded with the biases, which gives the same result.

    Args:
        heads: Module with the number of heads, and the norms of queries and keys.
        x_BHWC: Tokens.
        weight: Projection to queries, keys and values, shape (3 C, C).
        bias: Bias of the projection, shape (3 C,).
        window: Side of a window in tokens; None for global attention.
    """
    B, H, W, C = x_BHWC.shape
    h, w = (H, W) if window is None else (window, window)
    down, right = -H % h, -W % w
    if down or right:
        qkv_BHWC = F.pad(F.linear(x_BHWC, weight), (0, 0, 0, right, 0, down))
        if bias is not None:
            qkv_BHWC = qkv_BHWC + bias
        qkv_KNC = _windows(qkv_BHWC, h, w)
    else:
        qkv_KNC = F.linear(_windows(x_BHWC, h, w), weight, bias)
    q, k, v = qkv_KNC.chunk(3, -1)
    by_width, split = isinstance(heads, WidthNormAttention), (heads.num_heads, C // heads.num_heads)
    if by_width:
        q, k = heads.q_norm(q), heads.k_norm(k)
    q, k, v = (part.unflatten(-1, split).transpose(1, 2) for part in (q, k, v))
    if not by_width:
        q, k = heads.q_norm(q), heads.k_norm(k)
    mask_MNN = heads.biases(h, w, window is not None).to(q.dtype) if isinstance(heads, RelativeAttention) else None
    read_KNC = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_MNN).transpose(1, 2).flatten(2)
    windows = read_KNC.view(B, (H + down) // h, (W + right) // w, h, w, C).transpose(2, 3)
    return windows.reshape(B, H + down, W + right, C)[:, :H, :W]


def _windows(x_BHWC: Tensor, h: int, w: int) -> Tensor:
    """The tokens of each window, shape (K, h w, C) for K windows; a single window is not copied."""
    B, H, W, C = x_BHWC.shape
    windows = B * (H // h) * (W // w)
    return x_BHWC.view(B, H // h, h, W // w, w, C).transpose(2, 3).reshape(windows, h * w, C)


def _projection_bias(attention: Any) -> Tensor | None:
    """The bias of queries, keys and values as one tensor."""
    if isinstance(attention, RelativeAttention):
        q, v = attention.q_bias, attention.v_bias
        return None if q is None or v is None else torch.cat([q, torch.zeros_like(q), v])
    bias: Tensor | None = attention.qkv.bias
    return bias


class WidthNormAttention(nn.Module):
    """Attention with queries and keys normed over the whole width, not a head at a time (InternViT-6B)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm = RmsNorm(width, eps=1e-6)
        self.k_norm = RmsNorm(width, eps=1e-6)
        self.norm = nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        return attend(self, x_BNC.unsqueeze(1), None).squeeze(1)


class RelativeAttention(nn.Module):
    """Attention that adds a learnt bias for the offset between two tokens (BEiT, arXiv 2106.08254; timm's names).

    The table has a row for each offset of a square grid, and three for a class token: as query, as key, and as both. A
    smaller grid takes the offsets that it has. For a larger grid the table is stretched, near offsets less than far
    ones, as in BEiT's own code: its rows go to the distances 1, 1 + q, 1 + q + q^2, ..., with linear interpolation in
    between.
    """

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        width = model.width
        self.num_heads, self.grid = model.heads, model.relative_grid
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width)) if model.qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(width)) if model.qkv_bias else None
        self.q_norm, self.k_norm, self.norm = nn.Identity(), nn.Identity(), nn.Identity()
        self.relative_position_bias_table = nn.Parameter(torch.zeros(model.relative_biases // model.heads, model.heads))
        self.proj = nn.Linear(width, width, bias=model.proj_bias)
        self._known: tuple[object, Tensor] | None = None

    def forward(self, x_BNC: Tensor, sides: tuple[int, int]) -> Tensor:
        """Attention of a class token and the tokens of a grid.

        Args:
            x_BNC: Tokens, the class token first.
            sides: Height and width of the grid.
        """
        qkv_BNC = F.linear(x_BNC, self.qkv.weight, _projection_bias(self))
        split = (self.num_heads, x_BNC.shape[-1] // self.num_heads)
        q, k, v = (part.unflatten(-1, split).transpose(1, 2) for part in qkv_BNC.chunk(3, -1))
        bias_MNN = self.biases(*sides)
        reads, read, own = (row.view(-1, 1, 1) for row in self.relative_position_bias_table[-3:])
        count = bias_MNN.shape[-1]
        rows_MN1 = torch.cat([own, read.expand(-1, count, 1)], 1)
        bias_MNN = torch.cat([rows_MN1, torch.cat([reads.expand(-1, 1, count), bias_MNN], 1)], 2)
        read_BNC = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_MNN.to(q.dtype)).transpose(1, 2).flatten(2)
        output_BNC: Tensor = self.proj(read_BNC)
        return output_BNC

    def biases(self, height: int, width: int, keeps: bool = False) -> Tensor:
        """Bias of each pair of tokens of a grid, shape (M, N, N) with M heads and N = H W tokens.

        Args:
            height: Height of the grid in tokens.
            width: Width of the grid in tokens.
            keeps: Whether inference caches the biases, as for windows, whose size is constant.
        """
        table = self.relative_position_bias_table
        if not keeps or torch.is_grad_enabled() or table.is_inference() or _is_traced():
            return self._spread(height, width)
        state = (height, width, table.data_ptr(), table._version, table.dtype, table.device)
        if self._known is None or self._known[0] != state:
            self._known = state, self._spread(height, width)
        return self._known[1]

    def _spread(self, height: int, width: int) -> Tensor:
        side = 2 * self.grid - 1
        table_MRR = self.relative_position_bias_table[:-3].T.unflatten(1, (side, side))
        table_MRR = _stretched(_stretched(table_MRR, height).mT, width).mT
        # For query y and key k, the row y - k + H - 1: windows over the table, read backwards.
        pairs_MHWHW = table_MRR.unfold(1, height, 1).unfold(2, width, 1).flip(-1, -2)
        return pairs_MHWHW.reshape(self.num_heads, height * width, height * width)


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _stretched(table_MRC: Tensor, side: int) -> Tensor:
    """The rows of a table for the offsets -(side - 1) to side - 1."""
    own = table_MRC.shape[1] // 2
    if side - 1 <= own:
        return table_MRC[:, own - side + 1 : own + side]
    steps_R = _ratio(own, side - 1) ** torch.arange(own, device=table_MRC.device, dtype=torch.float32)
    known_R = F.pad(steps_R.cumsum(0), (1, 0))
    offset_D = torch.arange(1 - side, side, device=table_MRC.device, dtype=torch.float32)
    place_D = (offset_D.abs()[:, None] >= known_R).sum(-1).clamp(1, own)  # the first known distance beyond
    share_D = (offset_D.abs() - known_R[place_D - 1]) / (known_R[place_D] - known_R[place_D - 1])
    near, far = (table_MRC[:, own + offset_D.sign().long() * at_D] for at_D in (place_D - 1, place_D))
    return torch.lerp(near, far, share_D[:, None].to(table_MRC.dtype).clamp(max=1))


def _ratio(steps: int, reach: int) -> float:
    """The q for which 1 + q + q^2 + ... of so many steps equals the reach."""
    low, high = 1.0, 2.0
    while sum(high**step for step in range(steps)) < reach:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(middle**step for step in range(steps)) < reach else (low, middle)
    return high
