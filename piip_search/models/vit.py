"""A plain vision transformer as a branch, over any grid, in windows or globally.

Legend: B images, H W grid of tokens, N tokens, K prefix tokens (class token, registers), C channels.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piip_search.architecture import Branch
from piip_search.architecture.backbones import BACKBONES, Transformer
from piip_search.errors import DesignError
from piip_search.models._torchvision import import_torchvision
from piip_search.models.attention import RelativeAttention, WidthNormAttention, attend, read_windows
from piip_search.models.drop_path import set_drop_path
from piip_search.models.init_weights import initialise
from piip_search.models.resize import resize

import_torchvision()
import timm  # noqa: E402
from timm.layers import PatchEmbed, RmsNorm  # noqa: E402
from timm.models.vision_transformer import (  # noqa: E402
    Block,
    ParallelScalingBlock,
    ParallelThingsBlock,
    ResPostBlock,
)


class VisionTransformer(nn.Module):
    """Patch embedding, position embedding and blocks; no final norm (PIIP, section 3.2).

    Blocks are timm's own, so that weights of timm's models fit by name. `Branch.windows` sets windows or global
    attention for every block.
    """

    def __init__(self, branch: Branch, drop_path: float = 0.0, keeps_prefix: bool = False) -> None:
        """Builds the branch with random weights.

        Args:
            branch: Backbone, image size and windows.
            drop_path: Drop-path rate of all blocks, or of the last one with lower rates before it
                (`Transformer.drop_paths`).
            keeps_prefix: Whether class token and registers pass the blocks; only with global attention.

        Raises:
            DesignError: The backbone is no ViT.
        """
        super().__init__()
        model = branch.model
        if not isinstance(model, Transformer):
            raise DesignError(f"{branch.backbone} is no ViT")
        self.windows = branch.windows
        self.position_grid = model.position_grid
        self.patch_embed = PatchEmbed(
            img_size=None,
            patch_size=model.patch,
            embed_dim=model.width,
            bias=model.patch_bias,
            norm_layer=_norm_layer(model) if model.patch_norm else None,
            flatten=False,
            output_fmt="NHWC",
        )
        if model.position_grid:
            self.pos_embed = nn.Parameter(torch.zeros(1, model.position_grid**2, model.width))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        count = model.prefix if keeps_prefix else 0
        self.prefix = _tokens(count, model.width)
        self.prefix_positions = _tokens(count if model.prefix_positions else 0, model.width)
        self.norm_pre = norm_of(model) if model.embedding_norm else nn.Identity()
        self.blocks = _blocks(model)
        for block, rate in zip(self.blocks, model.drop_paths(drop_path), strict=True):
            set_drop_path(block, rate)
        self._block: Callable[[Any, Tensor, int | None], Tensor] = _block
        self._prefixed: Callable[[Any, Tensor, tuple[int, int]], Tensor] = _prefixed

    def compile_blocks(self, backend: str | Callable[..., Any]) -> None:
        """Compiles a block's kernels by `torch.compile`: few graphs, as the blocks of a branch are alike."""
        self._block = torch.compile(_block, backend=backend, dynamic=False)
        self._prefixed = torch.compile(_prefixed, backend=backend, dynamic=False)

    def embed(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens of an image with their positions, shape (B, H, W, C), and prefix tokens, shape (B, K, C)."""
        x_BHWC = embed_patches(self.patch_embed, image_BCHW)
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
                x_BHWC = self._block(self.blocks[index], x_BHWC, self.windows[index])
            return x_BHWC, None
        x_BNC = torch.cat([prefix_BKC, x_BHWC.flatten(1, 2)], 1)
        for index in blocks:
            x_BNC = self._prefixed(self.blocks[index], x_BNC, (x_BHWC.shape[1], x_BHWC.shape[2]))
        count = prefix_BKC.shape[1]
        return x_BNC[:, count:].reshape(x_BHWC.shape), x_BNC[:, :count]

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Accepts positions on another square grid unchanged, as every forward pass resizes them."""
        stored_1NC = state_dict.get(f"{prefix}pos_embed")
        if self.position_grid and stored_1NC is not None:
            side = math.isqrt(stored_1NC.shape[1])
            if stored_1NC.shape == (1, side**2, self.pos_embed.shape[2]) and side != self.position_grid:
                self.position_grid = side
                self.pos_embed.data = self.pos_embed.data.new_empty(stored_1NC.shape)  # an optimiser may hold it
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _positions(self, height: int, width: int) -> Tensor:
        """The stored embedding, resized to the grid in float32, shape (1, H, W, C)."""
        side = self.position_grid
        stored_HWC = self.pos_embed.reshape(side, side, -1)
        if (height, width) != (side, side):
            stored_HWC = resize_positions(stored_HWC.float(), height, width)
        return stored_HWC[None]


def resize_positions(stored_HWC: Tensor, height: int, width: int) -> Tensor:
    """Position embeddings on another grid, bicubic, shape (height, width, C).

    Args:
        stored_HWC: Stored embeddings, float32.
        height: New height in tokens.
        width: New width in tokens.
    """
    return resize(stored_HWC.permute(2, 0, 1)[None], height, width, "bicubic")[0].permute(1, 2, 0)


def embed_patches(embedding: PatchEmbed, image_BCHW: Tensor, by_product: bool | None = None) -> Tensor:
    """Tokens of an image's whole patches, shape (B, H, W, C).

    Args:
        embedding: Patch embedding of timm with a grid of tokens as output.
        image_BCHW: Images.
        by_product: Whether to multiply unfolded patches by a matrix, which gives the same sums as the convolution. For
            three channels GPU libraries have no convolution on matrix units. None chooses by the device.
    """
    if not (image_BCHW.is_cuda if by_product is None else by_product):
        # A convolution leaves channels far apart in memory, and later sums keep that layout. It is undone here, or
        # every norm and projection of the branch would copy the tokens first.
        x_BHWC: Tensor = embedding(image_BCHW).contiguous()
        return x_BHWC
    (h, w), (height, width) = embedding.patch_size, image_BCHW.shape[-2:]
    whole_BCHW = image_BCHW[..., : height // h * h, : width // w * w]
    patches_BCHhWw = whole_BCHW.unflatten(3, (-1, w)).unflatten(2, (-1, h))
    patches_BHWK = patches_BCHhWw.permute(0, 2, 4, 1, 3, 5).flatten(3)
    x_BHWC = embedding.norm(F.linear(patches_BHWK, embedding.proj.weight.flatten(1), embedding.proj.bias))
    return x_BHWC


def norm_of(model: Transformer) -> nn.Module:
    """A norm of the model's type over its width."""
    norm: nn.Module = _norm_layer(model)(model.width)
    return norm


def _norm_layer(model: Transformer) -> Any:
    return partial(RmsNorm if model.norm == "rms" else nn.LayerNorm, eps=model.eps)


def _tokens(count: int, width: int) -> nn.Parameter | None:
    if not count:
        return None
    tokens_1KC = nn.Parameter(torch.zeros(1, count, width))
    nn.init.trunc_normal_(tokens_1KC, std=0.02)
    return tokens_1KC


def _blocks(model: Transformer) -> nn.ModuleList:
    """Timm's blocks: those of the timm model of that name, or built from the facts."""
    if model.name == model.timm_name and model.name not in BACKBONES and not model.relative_grid:
        return nn.ModuleList(timm.create_model(model.timm_name.partition(".")[0], num_classes=0).blocks)
    blocks = nn.ModuleList(
        Block(
            model.width,
            model.heads,
            mlp_ratio=model.mlp_width / model.width,
            qkv_bias=model.qkv_bias,
            init_values=model.layer_scale,
            norm_layer=_norm_layer(model),
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
    """Runs a transformer block with attention in windows, or globally if `window` is None."""
    if isinstance(block, ParallelScalingBlock):
        x_BHWC = x_BHWC + block.drop_path(block.ls(_side_by_side(block, block.in_norm(x_BHWC), window)))
    elif isinstance(block, ParallelThingsBlock):
        reads = [part.drop_path(part.ls(attend(part.attn, part.norm(x_BHWC), window))) for part in block.attns]
        x_BHWC = sum(reads, x_BHWC)
        x_BHWC = sum((part(x_BHWC) for part in block.ffns), x_BHWC)
    elif isinstance(block, ResPostBlock):
        x_BHWC = x_BHWC + block.drop_path1(block.norm1(attend(block.attn, x_BHWC, window)))
        x_BHWC = x_BHWC + block.drop_path2(block.norm2(block.mlp(x_BHWC)))
    else:
        x_BHWC = _residuals(block, x_BHWC, attend(block.attn, block.norm1(x_BHWC), window))
    return x_BHWC


def _side_by_side(block: Any, x_BHWC: Tensor, window: int | None) -> Tensor:
    """Runs attention and MLP on the same tokens; their first projections are one matrix, the MLP's first."""
    weight, bias, hidden = block.in_proj.weight, block.in_proj.bias, block.in_split[0]
    hidden_bias, qkv_bias = (block.mlp_bias, None) if bias is None else (bias[:hidden], bias[hidden:])
    read_BHWC = read_windows(block, x_BHWC, weight[hidden:], qkv_bias, window)
    hidden_BHWC = block.mlp_act(F.linear(x_BHWC, weight[:hidden], hidden_bias))
    output_BHWC: Tensor = block.attn_out_proj(read_BHWC) + block.mlp_out_proj(hidden_BHWC)
    return output_BHWC


def _prefixed(block: Any, x_BNC: Tensor, sides: tuple[int, int]) -> Tensor:
    """Runs a transformer block over prefix tokens and a grid."""
    if not isinstance(getattr(block, "attn", None), RelativeAttention):
        output_BNC: Tensor = block(x_BNC)
        return output_BNC
    return _residuals(block, x_BNC, block.attn(block.norm1(x_BNC), sides))


def _residuals(block: Any, x: Tensor, attended: Tensor) -> Tensor:
    x = x + block.drop_path1(block.ls1(attended))
    x = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
    return x
