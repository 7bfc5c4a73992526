"""The PIIP network: one class for any number of branches (arXiv 2501.07783).

Legend: B images, C channels, H W pixels or grid of tokens.
"""

import itertools
from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from piip_search.architecture import Architecture, interaction_ranges
from piip_search.models.interaction import BidirectionalUnit
from piip_search.models.merge import BranchMerge, SimplePyramid
from piip_search.models.vit import VisionTransformer


class PIIP(nn.Module):
    """Branches at their own image sizes, interactions between neighbours, and a merge.

    Attributes:
        architecture: What it was built from.
        branches: One transformer a branch, the largest model first.
        interactions: For each interaction one unit a pair of neighbours, the pair of the largest models first.
        merge: Joins the branches; absent in a single-branch network.
    """

    def __init__(
        self, architecture: Architecture, drop_path: Sequence[float] | None = None, interaction_drop_path: float = 0.4
    ) -> None:
        """Builds the network with random weights.

        Args:
            architecture: What to build.
            drop_path: Drop-path rate of each branch; none by default.
            interaction_drop_path: Drop-path rate of the interactions' FFNs.

        Raises:
            ValueError: There are not as many rates as branches.
        """
        super().__init__()
        parts, count = architecture.branches, architecture.interaction.count
        rates = tuple(drop_path) if drop_path is not None else (0.0,) * len(parts)
        if len(rates) != len(parts):
            raise ValueError(f"drop_path takes one rate a branch: {len(parts)}, got {len(rates)}")
        widths = [branch.model.width for branch in parts]
        self.architecture = architecture
        self.branches = nn.ModuleList(VisionTransformer(part, rate) for part, rate in zip(parts, rates, strict=True))
        self.interactions = nn.ModuleList(
            nn.ModuleList(
                BidirectionalUnit(large, small, architecture.interaction, interaction_drop_path)
                for large, small in itertools.pairwise(widths)
            )
            for _ in range(count)
        )
        self.merge = BranchMerge(architecture) if len(parts) > 1 else None
        self._ranges = [interaction_ranges(branch.model.depth, count) for branch in parts]

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """The merged map, shape (B, width of the first branch, H / patch, W / patch).

        Args:
            image_BCHW: Images at the output branch's size or any other whole number of patches.
        """
        maps = self.forward_branches(image_BCHW)
        merged_BCHW: Tensor = maps[0] if self.merge is None else self.merge(maps)
        return merged_BCHW

    def forward_branches(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """One map a branch before merging, each of shape (B, C, H, W) on its own grid."""
        images = [self._resized(image_BCHW, index) for index in range(len(self.branches))]
        branches = [cast(VisionTransformer, branch) for branch in self.branches]
        tokens = [branch.embed(image) for branch, image in zip(branches, images, strict=True)]
        for step in range(max(1, len(self.interactions))):
            for index, branch in enumerate(branches):
                tokens[index] = branch.run(tokens[index], self._ranges[index][step])
            if len(self.interactions):
                self._interact(tokens, step)
        return tuple(x_BHWC.permute(0, 3, 1, 2) for x_BHWC in tokens)

    def _interact(self, tokens: list[Tensor], step: int) -> None:
        """All neighbours once, the pair with the smallest models first: details travel down in one interaction."""
        units = cast(nn.ModuleList, self.interactions[step])
        for pair in reversed(range(len(units))):
            tokens[pair], tokens[pair + 1] = units[pair](tokens[pair], tokens[pair + 1])

    def _resized(self, image_BCHW: Tensor, index: int) -> Tensor:
        """The image at a branch's size, in whole patches."""
        side, output = self.architecture.branches[index].resolution, self.architecture.resolution
        if side == output:
            return image_BCHW
        patch = self.architecture.patch
        height, width = (max(patch, round(pixels * side / output) // patch * patch) for pixels in image_BCHW.shape[-2:])
        return F.interpolate(image_BCHW, (height, width), mode="bilinear", align_corners=False)


class PIIPPyramid(nn.Module):
    """A PIIP network with the simple pyramid that detectors read."""

    def __init__(
        self, architecture: Architecture, drop_path: Sequence[float] | None = None, interaction_drop_path: float = 0.4
    ) -> None:
        """Builds the network; the arguments are those of `PIIP`."""
        super().__init__()
        self.piip = PIIP(architecture, drop_path, interaction_drop_path)
        self.pyramid = SimplePyramid(architecture.branches[0].model.width, architecture.patch)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Maps of strides 4, 8, 16 and 32, each of the first branch's width."""
        maps: tuple[Tensor, ...] = self.pyramid(self.piip(image_BCHW))
        return maps
