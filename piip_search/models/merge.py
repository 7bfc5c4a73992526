"""Branch merging, and the pyramid that detectors read (PIIP, section 3.4).

Legend: B images, C channels, H W grid.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piip_search.architecture import Architecture, Merge

GROUPS = 32


class BranchMerge(nn.Module):
    """Brings every branch to the first one's width and the output's grid, and sums them with learnable weights.

    The scalar weights start at 1. Resizing is bilinear, in float32.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = [branch.model.width for branch in architecture.branches]
        self.output = architecture.output
        self.projections = nn.ModuleList(
            _projection(width, widths[0], architecture.merge, first=index == 0) for index, width in enumerate(widths)
        )
        self.weights = nn.Parameter(torch.ones(len(widths)))

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        """The merged map, shape (B, C of the first branch, H, W of the output branch).

        Args:
            branches: One map a branch, each of shape (B, C, H, W) with its own C, H and W.
        """
        size = branches[self.output].shape[-2:]
        projected = [project(x_BCHW) for project, x_BCHW in zip(self.projections, branches, strict=True)]
        return sum_weighted([_resized(x_BCHW, size) for x_BCHW in projected], self.weights)


def sum_weighted(maps: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The sum of maps of one shape, each times its scalar."""
    total_BCHW = maps[0] * weights[0]
    for x_BCHW, weight in zip(maps[1:], weights[1:], strict=True):
        total_BCHW = total_BCHW + x_BCHW * weight
    return total_BCHW


def _projection(width: int, target: int, merge: Merge, first: bool) -> nn.Sequential:
    if merge == "linear":
        norm = nn.GroupNorm(GROUPS, width)
        return nn.Sequential(norm) if first else nn.Sequential(norm, nn.Conv2d(width, target, 1), _norm(target))
    return nn.Sequential(
        nn.Conv2d(width, target, 3, padding=1, bias=False), _norm(target), nn.ReLU(),
        nn.Conv2d(target, target, 3, padding=1, bias=False), _norm(target), nn.ReLU(),
    )  # fmt: skip


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, width)


def _resized(x_BCHW: Tensor, size: torch.Size) -> Tensor:
    if x_BCHW.shape[-2:] == size:
        return x_BCHW
    return F.interpolate(x_BCHW.float(), size, mode="bilinear", align_corners=False).to(x_BCHW.dtype)


class SimplePyramid(nn.Module):
    """Maps of strides 4, 8, 16 and 32 from one of stride 16 (ViTDet, arXiv 2203.16527, figure 2).

    Raises:
        ValueError: The map has another stride.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        if stride != 16:
            raise ValueError(f"the pyramid grows from a map of stride 16, got stride {stride}; use patches of 16 px")
        self.stride_4 = nn.Sequential(
            nn.ConvTranspose2d(width, width, 2, 2), _norm(width), nn.GELU(), nn.ConvTranspose2d(width, width, 2, 2)
        )
        self.stride_8 = nn.ConvTranspose2d(width, width, 2, 2)
        self.stride_32 = nn.MaxPool2d(2, ceil_mode=True)  # ceil_mode: even a single token leaves a map

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Four maps of the same width, the largest first, contiguous."""
        maps = (self.stride_4(x_BCHW), self.stride_8(x_BCHW), x_BCHW, self.stride_32(x_BCHW))
        # Compiled mmcv reads channels-last maps as if they were not (mmcv issue 2203), so none may leave here.
        return tuple(x.contiguous() for x in maps)
