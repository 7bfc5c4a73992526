"""A branch that is a plain vision transformer, over any grid, in windows or globally.

Legend: B images, H W grid of tokens, N tokens, K prefix tokens (class token, registers) or windows, C channels; h and w
are the sides of a window.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piip_search.architecture import Branch
from piip_search.backbones import BACKBONES, Transformer
from piip_search.models._torchvision import import_torchvision
from piip_search.models.initial import initialise

import_torchvision()
import timm  # noqa: E402
from timm.layers import DropPath, PatchEmbed, RmsNorm  # noqa: E402
from timm.models.vision_transformer import Block  # noqa: E402


class VisionTransformer(nn.Module):
    """Patch embedding, position embedding and blocks; no final norm (PIIP, section 3.2).

    Blocks are timm's own, so that weights of timm's models fit by name. Every block of `Branch.windows` attends in
    windows or globally as that says.
    """

    def __init__(self, branch: Branch, drop_path: float = 0.0, keeps_prefix: bool = False) -> None:
        """Builds the branch with random weights.

        Args:
            branch: Backbone, image size and windows.
            drop_path: Chance of skipping a residual: in all blocks, or in the last one and less in those before
                (`Transformer.drop_paths`).
            keeps_prefix: Whether class token and registers pass the blocks; for global attention only.

        Raises:
            ValueError: The backbone is no ViT.
        """
        super().__init__()
        model = branch.model
        if not isinstance(model, Transformer):
            raise ValueError(f"{branch.backbone} is no ViT")
        self.windows = branch.windows
        self.position_grid = model.position_grid
        self.patch_embed = PatchEmbed(
            img_size=None,
            patch_size=model.patch,
            embed_dim=model.width,
            bias=model.patch_bias,
            flatten=False,
            output_fmt="NHWC",
        )
        if model.position_grid:
            self.pos_embed = nn.Parameter(torch.zeros(1, model.position_grid**2, model.width))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        count = model.prefix if keeps_prefix else 0
        self.prefix = _tokens(count, model.width)
        self.prefix_positions = _tokens(count if model.prefix_positions else 0, model.width)
        self.norm_pre = nn.LayerNorm(model.width) if model.embedding_norm else nn.Identity()
        self.blocks = _blocks(model)
        for block, rate in zip(self.blocks, model.drop_paths(drop_path), strict=True):
            block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)

    def embed(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens of an image with their positions, shape (B, H, W, C), and prefix tokens, shape (B, K, C)."""
        x_BHWC: Tensor = self.patch_embed(image_BCHW)
        if self.position_grid:
            x_BHWC = x_BHWC + self._positions(x_BHWC.shape[1], x_BHWC.shape[2]).to(x_BHWC.dtype)
        x_BHWC = self.norm_pre(x_BHWC)
        if self.prefix is None:
            return x_BHWC, None
        prefix_1KC = self.prefix if self.prefix_positions is None else self.prefix + self.prefix_positions
        return x_BHWC, self.norm_pre(prefix_1KC).to(x_BHWC.dtype).expand(len(x_BHWC), -1, -1)

    def run(self, x_BHWC: Tensor, prefix_BKC: Tensor | None, blocks: range) -> tuple[Tensor, Tensor | None]:
        """Tokens and prefix tokens after some of the blocks."""
        if prefix_BKC is None:
            for index in blocks:
                x_BHWC = _block(self.blocks[index], x_BHWC, self.windows[index])
            return x_BHWC, None
        x_BNC = torch.cat([prefix_BKC, x_BHWC.flatten(1, 2)], 1)
        for index in blocks:
            x_BNC = _prefixed(self.blocks[index], x_BNC, (x_BHWC.shape[1], x_BHWC.shape[2]))
        count = prefix_BKC.shape[1]
        return x_BNC[:, count:].reshape(x_BHWC.shape), x_BNC[:, :count]

    def _positions(self, height: int, width: int) -> Tensor:
        """The stored embedding, resized to the grid in float32, shape (1, H, W, C)."""
        side = self.position_grid
        stored_BCHW = self.pos_embed.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        if (height, width) != (side, side):
            stored_BCHW = F.interpolate(stored_BCHW.float(), (height, width), mode="bicubic", align_corners=False)
        return stored_BCHW.permute(0, 2, 3, 1)


class WidthNormAttention(nn.Module):
    """Attention whose queries and keys are normed over the whole width, not a head at a time (InternViT-6B)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm = RmsNorm(width, eps=1e-6)
        self.k_norm = RmsNorm(width, eps=1e-6)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        return attend(self, x_BNC.unsqueeze(1), None).squeeze(1)


class RelativeAttention(nn.Module):
    """Attention that adds a learnt bias for the offset between two tokens (BEiT, arXiv 2106.08254; timm's names).

    The table holds a row for each offset of a square grid, and three for a class token: what it reads, what reads it,
    and itself. A smaller grid takes the offsets that it has. For a larger one the table is stretched, near offsets less
    than far ones, as BEiT's own code does: its rows go to the distances 1, 1 + q, 1 + q + q^2, ..., with linear
    interpolation in between.
    """

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        width = model.width
        self.num_heads, self.grid = model.heads, model.relative_grid
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width)) if model.qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(width)) if model.qkv_bias else None
        self.q_norm, self.k_norm = nn.Identity(), nn.Identity()
        self.relative_position_bias_table = nn.Parameter(torch.zeros(model.relative_biases // model.heads, model.heads))
        self.proj = nn.Linear(width, width, bias=model.proj_bias)

    def forward(self, x_BNC: Tensor, sides: tuple[int, int]) -> Tensor:
        """Attention of a class token and the tokens of a grid.

        Args:
            x_BNC: The class token first.
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

    def biases(self, height: int, width: int) -> Tensor:
        """Bias of each pair of tokens of a grid, shape (M, N, N) with M heads and N = H W tokens."""
        side = 2 * self.grid - 1
        table_MRR = self.relative_position_bias_table[:-3].T.unflatten(1, (side, side))
        table_MRR = _stretched(_stretched(table_MRR, height).mT, width).mT
        # Of query y and key k, the row y - k + H - 1: windows over the table, read backwards.
        pairs_MHWHW = table_MRR.unfold(1, height, 1).unfold(2, width, 1).flip(-1, -2)
        return pairs_MHWHW.reshape(self.num_heads, height * width, height * width)


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
    """The q of which 1 + q + q^2 + ... of so many steps reaches so far."""
    low, high = 1.0, 2.0
    while sum(high**step for step in range(steps)) < reach:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(middle**step for step in range(steps)) < reach else (low, middle)
    return high


def _tokens(count: int, width: int) -> nn.Parameter | None:
    if not count:
        return None
    tokens_1KC = nn.Parameter(torch.zeros(1, count, width))
    nn.init.trunc_normal_(tokens_1KC, std=0.02)
    return tokens_1KC


def _blocks(model: Transformer) -> nn.ModuleList:
    """Timm's blocks: those of the timm model of that name, or made from the facts."""
    if model.name == model.timm_name and model.name not in BACKBONES and not model.relative_grid:
        return nn.ModuleList(timm.create_model(model.timm_name.partition(".")[0], num_classes=0).blocks)
    norm = RmsNorm if model.norm == "rms" else nn.LayerNorm
    blocks = nn.ModuleList(
        Block(
            model.width,
            model.heads,
            mlp_ratio=model.mlp_width / model.width,
            qkv_bias=model.qkv_bias,
            init_values=model.layer_scale,
            norm_layer=partial(norm, eps=1e-6),
        )
        for _ in range(model.depth)
    )
    for block in blocks:
        if model.query_norm == "width":
            block.attn = WidthNormAttention(model.width, model.heads)
        elif model.relative_grid:
            block.attn = RelativeAttention(model)
    blocks.apply(initialise)
    return blocks


def _block(block: Any, x_BHWC: Tensor, window: int | None) -> Tensor:
    """A transformer block whose attention sees windows, or everything where `window` is None."""
    return _residuals(block, x_BHWC, attend(block.attn, block.norm1(x_BHWC), window))


def _prefixed(block: Any, x_BNC: Tensor, sides: tuple[int, int]) -> Tensor:
    """A transformer block over prefix tokens and a grid."""
    if not isinstance(block.attn, RelativeAttention):
        output_BNC: Tensor = block(x_BNC)
        return output_BNC
    return _residuals(block, x_BNC, block.attn(block.norm1(x_BNC), sides))


def _residuals(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    x = x + block.drop_path1(block.ls1(attended))
    x = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
    return x


def attend(attention: Any, x_BHWC: Tensor, window: int | None) -> Tensor:
    """Self-attention in windows that neither overlap nor shift, or over all tokens.

    The authors fill up windows with zeros before the projections and do not mask them. A zero becomes the projections'
    bias: so only real tokens are projected here, and windows are filled up with the biases, which gives the same.

    Args:
        attention: Projections, norms and heads; timm's own, or of the same parts.
        x_BHWC: Tokens.
        window: Side of a window in tokens; None for all.
    """
    B, H, W, C = x_BHWC.shape
    h, w = (H, W) if window is None else (window, window)
    down, right = -H % h, -W % w
    weight, bias = attention.qkv.weight, _projection_bias(attention)
    if down or right:
        qkv_BHWC = F.pad(F.linear(x_BHWC, weight), (0, 0, 0, right, 0, down))
        if bias is not None:
            qkv_BHWC = qkv_BHWC + bias
        qkv_KNC = _windows(qkv_BHWC, h, w)
    else:
        qkv_KNC = F.linear(_windows(x_BHWC, h, w), weight, bias)
    q, k, v = qkv_KNC.chunk(3, -1)
    if _norms_width(attention):
        q, k = attention.q_norm(q), attention.k_norm(k)
    split = (attention.num_heads, q.shape[-1] // attention.num_heads)
    q, k, v = (part.unflatten(-1, split).transpose(1, 2) for part in (q, k, v))
    if not _norms_width(attention):
        q, k = attention.q_norm(q), attention.k_norm(k)
    mask_MNN = attention.biases(h, w).to(q.dtype) if isinstance(attention, RelativeAttention) else None
    attended_KNC = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_MNN).transpose(1, 2).flatten(2)
    windows = attended_KNC.view(B, (H + down) // h, (W + right) // w, h, w, C).transpose(2, 3)
    output_BHWC: Tensor = attention.proj(windows.reshape(B, H + down, W + right, C)[:, :H, :W])
    return output_BHWC


def _windows(x_BHWC: Tensor, h: int, w: int) -> Tensor:
    """The tokens of each window, shape (K, h w, C) for K windows; a single one is no copy."""
    B, H, W, C = x_BHWC.shape
    windows = B * (H // h) * (W // w)
    return x_BHWC.view(B, H // h, h, W // w, w, C).transpose(2, 3).reshape(windows, h * w, C)


def _projection_bias(attention: Any) -> Tensor | None:
    """Bias of queries, keys and values together."""
    if isinstance(attention, RelativeAttention):
        q, v = attention.q_bias, attention.v_bias
        return None if q is None or v is None else torch.cat([q, torch.zeros_like(q), v])
    bias: Tensor | None = attention.qkv.bias
    return bias


def _norms_width(attention: nn.Module) -> bool:
    return isinstance(attention, WidthNormAttention)
