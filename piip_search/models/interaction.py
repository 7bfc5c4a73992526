"""Interactions: two neighbouring branches read each other by cross-attention (PIIP, section 3.3).

Legend: B images, H W grid of tokens, N = H W tokens, C channels; M heads, P points, D channels of a head's values, K =
    3 M P learnt numbers of a query. Suffix q is the branch that reads, f the one that is read.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piip_search.architecture import Interaction
from piip_search.models.drop_path import DropPath
from piip_search.models.init_weights import initialise
from piip_search.models.kernels.depthwise import depthwise
from piip_search.models.kernels.sampling import Grids, grid_of, sample
from piip_search.models.kernels.streams import ONE, BranchStream, join


class DeformableAttention(nn.Module):
    """Attention of every query to a few sampled points of the other grid (Deformable DETR, arXiv 2010.04159, eq. 2).

    There is one level. Values have half the query's width. Offsets are learnt in tokens of the grid that is read; they
    start as the directions of a compass, 1 to P tokens long. Linear layers follow a surrounding autocast; places and
    weights of samples are computed in float32 at least.
    """

    def __init__(self, width: int, heads: int, points: int, feature_width: int | None = None) -> None:
        """Builds the attention.

        Args:
            width: Channels of the queries.
            heads: Number of heads; it divides half the width.
            points: Sampled points per head and query.
            feature_width: Channels of the tokens that are read; those of the queries by default.
        """
        super().__init__()
        self.heads, self.points = heads, points
        value = width // 2
        self.sampling_offsets = nn.Linear(width, heads * points * 2)
        self.attention_weights = nn.Linear(width, heads * points)
        self.value_proj = nn.Linear(feature_width or width, value)
        self.output_proj = nn.Linear(value, width)
        self._initialise()

    def forward(
        self, query_BHWC: Tensor, feature_BHWC: Tensor, grids: Grids | None = None, gate_C: Tensor | None = None
    ) -> Tensor:
        """The attention's output for the queries, in their shape.

        Args:
            query_BHWC: Tokens of the reader, shape (B, Hq, Wq, C).
            feature_BHWC: Tokens to read, shape (B, Hf, Wf, Cf), on any grid.
            grids: Grids of both, if known.
            gate_C: Factor on the output, shape (C,).
        """
        B, Hf, Wf, _ = feature_BHWC.shape
        M, D = self.heads, self.value_proj.out_features // self.heads
        value_BHWMD = self.value_proj(feature_BHWC).view(B, Hf, Wf, M, D)
        learnt_BNK = self._learnt(query_BHWC.flatten(1, 2))
        read_BNMD = sample(value_BHWMD, learnt_BNK, grids or (grid_of(query_BHWC), grid_of(feature_BHWC)))
        return gated(self.output_proj, read_BNMD.flatten(2), gate_C).view_as(query_BHWC)

    def _learnt(self, query_BNC: Tensor) -> Tensor:
        """Offsets and scores, shape (B, N, K), by one layer, which halves the passes over the queries."""
        layers = (self.sampling_offsets, self.attention_weights)
        weight_KC = torch.cat([layer.weight for layer in layers])
        return F.linear(query_BNC, weight_KC, torch.cat([layer.bias for layer in layers]))

    def _initialise(self) -> None:
        angle_M = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        compass_M2 = torch.stack([angle_M.cos(), angle_M.sin()], -1)
        compass_M2 = compass_M2 / compass_M2.abs().amax(-1, keepdim=True)
        steps_P = torch.arange(1, self.points + 1, dtype=torch.float32)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_((compass_M2[:, None] * steps_P[None, :, None]).flatten())
        for zero in (self.sampling_offsets.weight, self.attention_weights.weight, self.attention_weights.bias):
            nn.init.zeros_(zero)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class RegularAttention(nn.Module):
    """Attention of every query to every token of the other grid; queries, keys and values have no bias."""

    def __init__(self, width: int, heads: int, feature_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_proj = nn.Linear(width, width, bias=False)
        self.key_value_proj = nn.Linear(feature_width, 2 * width, bias=False)
        self.output_proj = nn.Linear(width, width)
        self.apply(initialise)

    def forward(
        self, query_BHWC: Tensor, feature_BHWC: Tensor, grids: Grids | None = None, gate_C: Tensor | None = None
    ) -> Tensor:
        """The attention's output for the queries, in their shape; grids do not matter."""
        q_BNC = self.query_proj(query_BHWC.flatten(1, 2))
        k_BNC, v_BNC = self.key_value_proj(feature_BHWC.flatten(1, 2)).chunk(2, -1)
        split = (self.heads, q_BNC.shape[-1] // self.heads)
        q, k, v = (part.unflatten(-1, split).transpose(1, 2) for part in (q_BNC, k_BNC, v_BNC))
        read_BNC = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return gated(self.output_proj, read_BNC, gate_C).view_as(query_BHWC)


class ConvFFN(nn.Module):
    """A narrow MLP with a depthwise 3x3 convolution on the grid inside: C -> C/4 -> C."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width // 4
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)
        self.apply(initialise)

    def forward(self, x_BHWC: Tensor, gate_C: Tensor | None = None) -> Tensor:
        """The tokens' update, in their shape, times the gate."""
        hidden_BHWC = depthwise(self.fc1(x_BHWC), self.dwconv.weight, cast(Tensor, self.dwconv.bias))
        return gated(self.fc2, self.act(hidden_BHWC), gate_C)


class Injector(nn.Module):
    """One direction: q + gamma * Attention(LN(q), LN(f)), then q + tau * FFN(LN(q)).

    Both gates are vectors that start at zero, so that a network starts as its separate branches. The tokens to read are
    first brought to the reader's width, unless the interaction has no projection.
    """

    def __init__(self, width: int, feature_width: int, interaction: Interaction, drop_path: float) -> None:
        """Builds the direction.

        Args:
            width: Channels of the reading branch.
            feature_width: Channels of the branch to read.
            interaction: Settings of the interaction.
            drop_path: Drop-path rate of the FFN.
        """
        super().__init__()
        read = width if interaction.projection else feature_width
        self.projection = nn.Linear(feature_width, width) if interaction.projection else nn.Identity()
        self.query_norm = _norm(width, interaction)
        self.feat_norm = _norm(read, interaction)
        self.attn = (
            DeformableAttention(width, interaction.heads, interaction.points, read)
            if interaction.attention == "deformable"
            else RegularAttention(width, interaction.heads, read)
        )
        self.ffn_norm = _norm(width, interaction)
        self.ffn = ConvFFN(width)
        self.drop_path = DropPath(drop_path)
        self.gamma = nn.Parameter(torch.zeros(width))
        self.tau = nn.Parameter(torch.zeros(width))
        self.projection.apply(initialise)

    def forward(self, query_BHWC: Tensor, feature_BHWC: Tensor, grids: Grids | None = None) -> Tensor:
        """The reader's tokens after the update.

        Args:
            query_BHWC: Tokens of the reader.
            feature_BHWC: Tokens to read.
            grids: Grids of both, if known.
        """
        feature_BHWC = self.feat_norm(self.projection(feature_BHWC))
        query_BHWC = query_BHWC + self.attn(self.query_norm(query_BHWC), feature_BHWC, grids, self.gamma)
        update_BHWC: Tensor = self.drop_path(self.ffn(self.ffn_norm(query_BHWC), self.tau))
        return query_BHWC + update_BHWC


class InteractionUnit(nn.Module):
    """Two neighbours read each other, or one reads the other; both read the state before (PIIP, figure 3)."""

    def __init__(self, large: int, small: int, interaction: Interaction, step: int, drop_path: float) -> None:
        """Builds the unit.

        Args:
            large: Width of the larger model's branch.
            small: Width of the smaller model's branch.
            interaction: Settings of the interaction.
            step: Index of the interaction, from 0.
            drop_path: Drop-path rate of the FFN.
        """
        super().__init__()
        large_reads, small_reads = interaction.reads(step)
        self.large_reads = Injector(large, small, interaction, drop_path) if large_reads else None
        self.small_reads = Injector(small, large, interaction, drop_path) if small_reads else None

    def forward(
        self,
        large_BHWC: Tensor,
        small_BHWC: Tensor,
        grids: Grids,
        streams: tuple[BranchStream, BranchStream] = (ONE, ONE),
    ) -> tuple[Tensor, Tensor]:
        """Both branches' tokens, in their shapes.

        Args:
            large_BHWC: Tokens of the larger model.
            small_BHWC: Tokens of the smaller model.
            grids: Grids of both.
            streams: Streams of both branches.
        """
        large, small = large_BHWC, small_BHWC
        join(streams, [large_BHWC, small_BHWC, *(grid.token_2 for grid in grids)])  # centres are the reader's own
        if self.large_reads is not None:
            with streams[0]():
                large = self.large_reads(large_BHWC, small_BHWC, grids)
        if self.small_reads is not None:
            with streams[1]():
                small = self.small_reads(small_BHWC, large_BHWC, grids[::-1])
        return large, small


def gated(layer: nn.Linear, x_BNC: Tensor, gate_C: Tensor | None) -> Tensor:
    """A layer's output, times a gate of shape (C,) if given; shape (..., C).

    The gate multiplies the layer's weights, which are fewer values than the tokens.
    """
    if gate_C is None:
        output_BNC: Tensor = layer(x_BNC)
        return output_BNC
    return F.linear(x_BNC, gate_C[:, None] * layer.weight, gate_C * layer.bias)


def _norm(width: int, interaction: Interaction) -> nn.Module:
    return nn.LayerNorm(width, eps=1e-6) if interaction.norm else nn.Identity()
