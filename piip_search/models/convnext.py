"""A ConvNeXt branch (arXiv 2201.03545).

Legend: B images, H W grid, C channels.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from piip_search.architecture import Branch
from piip_search.architecture.backbones import BACKBONES, ConvNeXt
from piip_search.errors import DesignError
from piip_search.models._torchvision import import_torchvision
from piip_search.models.drop_path import set_drop_path

import_torchvision()
import timm  # noqa: E402
from timm.models import convnext  # noqa: E402


class ConvNeXtBranch(nn.Module):
    """Stem and blocks of timm's ConvNeXt in sequence; a downsampling layer counts as a block."""

    def __init__(self, branch: Branch, drop_path: float = 0.0) -> None:
        """Builds the branch with random weights.

        Args:
            branch: Backbone and image size.
            drop_path: Drop-path rate of the last block; it rises to it from zero.

        Raises:
            DesignError: The backbone is no ConvNeXt.
        """
        super().__init__()
        facts = branch.model
        if not isinstance(facts, ConvNeXt):
            raise DesignError(f"{branch.backbone} is no ConvNeXt")
        if facts.name in BACKBONES:
            whole = convnext.ConvNeXt(depths=facts.depths, dims=facts.widths, num_classes=0)
        else:
            whole = timm.create_model(facts.timm_name.partition(".")[0], num_classes=0)
        self.stem = whole.stem
        self.blocks = nn.ModuleList()
        for index, stage in enumerate(whole.stages):
            self.blocks.extend(([stage.downsample] if index else []) + list(stage.blocks))
        for block, rate in zip(self.blocks, facts.drop_paths(drop_path), strict=True):
            set_drop_path(block, rate)

    def compile_blocks(self, backend: str | Callable[..., Any]) -> None:
        """Compiles a block's kernels by `torch.compile`: few graphs, as the blocks of a stage are alike."""
        for block in self.blocks:
            block.compile(backend=backend, dynamic=False)

    def embed(self, image_BCHW: Tensor) -> tuple[Tensor, None]:
        """The map after the stem, shape (B, H / 4, W / 4, C); a ConvNeXt has no prefix tokens."""
        return self.stem(image_BCHW).permute(0, 2, 3, 1), None

    def run(self, x_BHWC: Tensor, prefix_BKC: None, blocks: range) -> tuple[Tensor, None]:
        """The map after some of the blocks."""
        x_BCHW = x_BHWC.permute(0, 3, 1, 2)
        for index in blocks:
            x_BCHW = self.blocks[index](x_BCHW)
        return x_BCHW.permute(0, 2, 3, 1), None
