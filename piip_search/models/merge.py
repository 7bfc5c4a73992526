"""Branch merging, and the pyramid of maps (PIIP, section 3.4).

Legend: B images, C channels, H W grid, N tokens, K classes.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from piip_search.architecture import GROUPS, Architecture
from piip_search.architecture.backbones import Backbone, ConvNeXt, Pool
from piip_search.architecture.segments import STRIDES, Merge, interaction_stages
from piip_search.errors import DesignError
from piip_search.models.init_weights import initialise
from piip_search.models.kernels.streams import fork, join, streams_of
from piip_search.models.resize import resize
from piip_search.models.vit import norm_of


class BranchMerge(nn.Module):
    """Brings every branch to the first one's width and the output's grid, and sums them with learnable weights.

    The scalar weights start at 1. Resizing is bilinear, in float32.

    The merge `residual` adds the output branch's own map, placed into the first one's width by a 1x1 convolution that
    begins as the identity. Its weights are a vector a branch, which begins at zero, as the interactions' do. So every
    network begins as its output branch alone, and short trainings are not charged for the fresh projections.
    """

    def __init__(self, architecture: Architecture, tap: int) -> None:
        """Builds the merge.

        Args:
            architecture: Architecture of the network.
            tap: Index of the stretch of blocks before the merge, from 0.
        """
        super().__init__()
        stages = [interaction_stages(branch.model, architecture.stretches)[tap] for branch in architecture.branches]
        widths = [stage.width for stage in stages]
        self.output = architecture.output
        self.projections = nn.ModuleList(
            _projection(width, widths[0], architecture.merge, first=index == 0) for index, width in enumerate(widths)
        )
        self.projections.apply(initialise)
        if architecture.merge == "residual":
            self.branch_weights = nn.Parameter(torch.zeros(len(widths), widths[0], 1, 1))
            self.placement: nn.Module | None = _placement(widths[self.output], widths[0])
        else:
            self.branch_weights = nn.Parameter(torch.ones(len(widths)))
            self.placement = None
        self._project: Callable[[Any, Tensor], Tensor] = _project
        self._join: Callable[[Sequence[Tensor], torch.Size, Tensor], Tensor] = _join

    def compile_merge(self, backend: str | Callable[..., Any]) -> None:
        """Compiles the kernels by `torch.compile`."""
        self._project = torch.compile(_project, backend=backend, dynamic=False)
        self._join = partial(_without_autocast, torch.compile(_join, backend=backend, dynamic=False))

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        """The merged map, shape (B, C of the first branch, H, W of the output branch).

        Args:
            branches: One map a branch, each of shape (B, C, H, W) with its own C, H and W.
        """
        streams = streams_of(branches[0], len(branches))
        fork(streams, branches)
        projected: list[Tensor] = []
        for projection, x_BCHW, stream in zip(self.projections, branches, streams, strict=True):
            with stream():
                projected.append(self._project(projection, x_BCHW))
        join(streams, projected)
        read_BCHW = branches[self.output]
        joined_BCHW = self._join(projected, read_BCHW.shape[-2:], self.branch_weights)
        return joined_BCHW if self.placement is None else self._project(self.placement, read_BCHW) + joined_BCHW


class LogitMerge(nn.Module):
    """The mean of every branch's own class scores, each by the head of its pre-trained model."""

    def __init__(self, architecture: Architecture, classes: int) -> None:
        """Builds the merge.

        Args:
            architecture: Architecture of the network.
            classes: Number of classes.
        """
        super().__init__()
        models = [branch.model for branch in architecture.branches]
        self.pools = [model.pool for model in models]
        self.norms = nn.ModuleList(_final_norm(model) for model in models)
        self.heads = nn.ModuleList(nn.Linear(model.stages[-1].width, classes) for model in models)
        self.heads.apply(initialise)

    def forward(self, branches: Sequence[Tensor], prefixes: Sequence[Tensor | None]) -> Tensor:
        """Class scores, shape (B, K).

        Args:
            branches: One map a branch, each of shape (B, C, H, W).
            prefixes: Prefix tokens of each branch, the class token first, shape (B, K, C).
        """
        inputs = zip(self.pools, self.norms, branches, prefixes, strict=True)
        logits = [head(_pooled(*one)) for head, one in zip(self.heads, inputs, strict=True)]
        return torch.stack(logits).mean(0)


class TokenMerge(nn.Module):
    """Tokens of a language model: the sum of every branch's own projection on the output's grid."""

    def __init__(self, architecture: Architecture, width: int) -> None:
        """Builds the merge.

        Args:
            architecture: Architecture of the network.
            width: Channels of a token of the language model.
        """
        super().__init__()
        widths = [branch.model.stages[-1].width for branch in architecture.branches]
        self.output = architecture.output
        self.projectors = nn.ModuleList(
            nn.Sequential(nn.Conv2d(own, width, 1), group_norm(width), nn.GELU(), nn.Conv2d(width, width, 1))
            for own in widths
        )

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        """Tokens, shape (B, N of the output's grid, width of the language model).

        Args:
            branches: One map a branch, each of shape (B, C, H, W).
        """
        size = branches[self.output].shape[-2:]
        projected = [project(_resized(x, size)) for project, x in zip(self.projectors, branches, strict=True)]
        summed_BCHW: Tensor = sum(projected[1:], projected[0])
        return summed_BCHW.flatten(2).transpose(1, 2)


class Pyramid(nn.Module):
    """Maps of strides 4, 8, 16 and 32 from four maps (ViTDet, arXiv 2203.16527, figure 2).

    A map is brought to its stride by transposed convolutions of stride 2, or by max pooling.
    """

    def __init__(self, widths: Sequence[int], strides: Sequence[int], targets: Sequence[int] = STRIDES) -> None:
        """Builds the pyramid.

        Args:
            widths: Channels of the maps.
            strides: Their strides in pixels: each 4, 2, 1 or 1/2 times that of its level.
            targets: Strides of the levels: all four, or those that a neck reads (DINO's: 8, 16 and 32).

        Raises:
            DesignError: The numbers of maps and levels differ, or a map has another stride.
        """
        super().__init__()
        factors = [stride / target for stride, target in zip(strides, targets, strict=True)]
        if not set(factors) <= {0.5, 1, 2, 4}:
            raise DesignError(
                f"the pyramid grows from maps of stride 16, got strides {tuple(strides)}; use patches of 16 px"
            )
        self.levels = nn.ModuleList(_level(width, factor) for width, factor in zip(widths, factors, strict=True))
        self.levels.apply(initialise)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """A map for each level, the largest first, contiguous."""
        # Compiled mmcv misreads channels-last maps (mmcv issue 2203), so all are contiguous.
        return tuple(level(x_BCHW).contiguous() for level, x_BCHW in zip(self.levels, maps, strict=True))


def _project(projection: nn.Module, x_BCHW: Tensor) -> Tensor:
    projected_BCHW: Tensor = projection(x_BCHW)
    return projected_BCHW


def _join(branches: Sequence[Tensor], size: torch.Size, weights: Tensor) -> Tensor:
    return sum_weighted([_resized(x_BCHW, size) for x_BCHW in branches], weights)


def _without_autocast(join: Callable[..., Tensor], branches: Sequence[Tensor], *arguments: Any) -> Tensor:
    """Runs a compiled merge without autocast: the compiler would take gradients in the surrounding precision."""
    with torch.autocast(branches[0].device.type, enabled=False):
        return join(branches, *arguments)


def sum_weighted(maps: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The sum of maps of one shape, each times its scalar."""
    total_BCHW = maps[0] * weights[0]
    for x_BCHW, weight in zip(maps[1:], weights[1:], strict=True):
        total_BCHW = total_BCHW + x_BCHW * weight
    return total_BCHW


def group_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, width)


def _projection(width: int, target: int, merge: Merge, first: bool) -> nn.Sequential:
    if merge == "linear":
        norm = group_norm(width)
        return nn.Sequential(norm) if first else nn.Sequential(norm, nn.Conv2d(width, target, 1), group_norm(target))
    times = {"conv": 2, "residual": 2, "pyramid": 0 if first else 1}[merge]
    widths = [width, *[target] * times]
    layers = [
        layer
        for before, after in itertools.pairwise(widths)
        for layer in (nn.Conv2d(before, after, 3, padding=1, bias=False), group_norm(after), nn.ReLU())
    ]
    return nn.Sequential(*layers) if layers else nn.Sequential(group_norm(width), nn.ReLU())


def _placement(width: int, target: int) -> nn.Conv2d:
    """A 1x1 convolution that copies channels and adds empty ones: no branch is wider than the first."""
    placement = nn.Conv2d(width, target, 1, bias=False)
    with torch.no_grad():
        placement.weight.copy_(torch.eye(target, width)[:, :, None, None])
    return placement


def _level(width: int, factor: float) -> nn.Module:
    if factor == 4:
        return nn.Sequential(
            nn.ConvTranspose2d(width, width, 2, 2), group_norm(width), nn.GELU(), nn.ConvTranspose2d(width, width, 2, 2)
        )
    if factor == 2:
        return nn.ConvTranspose2d(width, width, 2, 2)
    return nn.Identity() if factor == 1 else nn.MaxPool2d(2, ceil_mode=True)  # even a single token leaves a map


def _resized(x_BCHW: Tensor, size: torch.Size) -> Tensor:
    if x_BCHW.shape[-2:] == size:
        return x_BCHW
    return resize(x_BCHW.float(), size[0], size[1], "bilinear").to(x_BCHW.dtype)


def _final_norm(model: Backbone) -> nn.Module:
    if isinstance(model, ConvNeXt):
        return nn.LayerNorm(model.stages[-1].width, eps=model.eps)
    return norm_of(model) if model.final_norm else nn.Identity()


def _pooled(pool: Pool, norm: nn.Module, x_BCHW: Tensor, prefix_BKC: Tensor | None) -> Tensor:
    """The input of a head, shape (B, C)."""
    if pool == "token" and prefix_BKC is not None:
        pooled_BC: Tensor = norm(prefix_BKC[:, 0])
    elif pool == "normed_avg":
        pooled_BC = norm(x_BCHW.permute(0, 2, 3, 1)).mean((1, 2))
    else:
        pooled_BC = norm(x_BCHW.mean((2, 3)))
    return pooled_BC
