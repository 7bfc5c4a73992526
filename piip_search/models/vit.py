"""One branch of a PIIP network: a plain vision transformer over any grid, in windows or globally.

Legend: B images, H W grid of tokens, C channels, w side of a window, K windows.
"""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piip_search.architecture import Branch
from piip_search.cost import POSITION_GRID
from piip_search.models._torchvision import import_torchvision

import_torchvision()
from timm.layers import PatchEmbed  # noqa: E402
from timm.models.vision_transformer import Block  # noqa: E402


class VisionTransformer(nn.Module):
    """Patch embedding, position embedding and blocks; no class token and no final norm (PIIP, section 3.2).

    Blocks are timm's own, so that weights of timm's models fit by name. Every block of `Branch.windows` attends in
    windows or globally as that says.
    """

    def __init__(self, branch: Branch, drop_path: float = 0.0) -> None:
        """Builds the branch with random weights.

        Args:
            branch: Backbone, image size and windows.
            drop_path: Chance of skipping a residual, the same in all blocks.
        """
        super().__init__()
        model = branch.model
        self.windows = branch.windows
        self.patch_embed = PatchEmbed(
            img_size=None, patch_size=model.patch, embed_dim=model.width, flatten=False, output_fmt="NHWC"
        )
        self.pos_embed = nn.Parameter(torch.zeros(1, POSITION_GRID**2, model.width))
        self.blocks = nn.ModuleList(
            Block(
                model.width,
                model.heads,
                mlp_ratio=model.mlp_ratio,
                qkv_bias=True,
                init_values=1.0 if model.layer_scale else None,
                drop_path=drop_path,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
            )
            for _ in range(model.depth)
        )
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks.apply(_initialise)

    def embed(self, image_BCHW: Tensor) -> Tensor:
        """Tokens of an image with their positions, shape (B, H, W, C)."""
        x_BHWC: Tensor = self.patch_embed(image_BCHW)
        return x_BHWC + self._positions(x_BHWC.shape[1], x_BHWC.shape[2]).to(x_BHWC.dtype)

    def run(self, x_BHWC: Tensor, blocks: range) -> Tensor:
        """The tokens after some of the blocks."""
        for index in blocks:
            x_BHWC = _block(self.blocks[index], x_BHWC, self.windows[index])
        return x_BHWC

    def _positions(self, height: int, width: int) -> Tensor:
        """The stored embedding, resized to the grid in float32, shape (1, H, W, C)."""
        stored_BCHW = self.pos_embed.reshape(1, POSITION_GRID, POSITION_GRID, -1).permute(0, 3, 1, 2)
        if (height, width) != (POSITION_GRID, POSITION_GRID):
            stored_BCHW = F.interpolate(stored_BCHW.float(), (height, width), mode="bicubic", align_corners=False)
        return stored_BCHW.permute(0, 2, 3, 1)


def _block(block: Any, x_BHWC: Tensor, window: int | None) -> Tensor:
    """A transformer block whose attention sees windows, or everything where `window` is None."""
    normed_BHWC = block.norm1(x_BHWC)
    attended_BHWC = _global(block.attn, normed_BHWC) if window is None else _windowed(block.attn, normed_BHWC, window)
    x_BHWC = x_BHWC + block.drop_path1(block.ls1(attended_BHWC))
    x_BHWC = x_BHWC + block.drop_path2(block.ls2(block.mlp(block.norm2(x_BHWC))))
    return x_BHWC


def _global(attention: nn.Module, x_BHWC: Tensor) -> Tensor:
    attended_BNC: Tensor = attention(x_BHWC.flatten(1, 2))
    return attended_BNC.view_as(x_BHWC)


def _windowed(attention: nn.Module, x_BHWC: Tensor, window: int) -> Tensor:
    """Attention in windows that neither overlap nor shift.

    Tokens are filled up with zeros to whole windows before the attention's own projections and without a mask, as the
    authors' detection models do.
    """
    B, H, W, C = x_BHWC.shape
    rows, columns = math.ceil(H / window), math.ceil(W / window)
    padded_BHWC = F.pad(x_BHWC, (0, 0, 0, columns * window - W, 0, rows * window - H))
    split = padded_BHWC.view(B, rows, window, columns, window, C).transpose(2, 3)
    attended_KNC: Tensor = attention(split.reshape(B * rows * columns, window * window, C))
    joined = attended_KNC.view(B, rows, columns, window, window, C).transpose(2, 3)
    return joined.reshape(B, rows * window, columns * window, C)[:, :H, :W]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
