"""PIIP networks with heads: a pyramid of maps, or class scores.

Legend: B images, C channels, H W grid, K classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.architecture.segments import KEEPS_PREFIX, PYRAMID_LEVELS, STRIDES
from piip_search.cost import IMAGENET_CLASSES
from piip_search.errors import DesignError
from piip_search.models.init_weights import initialise
from piip_search.models.merge import Pyramid
from piip_search.models.piip import PIIP


class PIIPPyramid(nn.Module):
    """A PIIP network with a pyramid of maps."""

    def __init__(
        self,
        architecture: Architecture,
        drop_path: Sequence[float] | None = None,
        interaction_drop_path: float = 0.4,
        checkpointing: bool = False,
        strides: Sequence[int] = STRIDES,
    ) -> None:
        """Builds the network; the first arguments are those of `PIIP`.

        Args:
            architecture: Architecture to build.
            drop_path: As in `PIIP`.
            interaction_drop_path: As in `PIIP`.
            checkpointing: As in `PIIP`.
            strides: Strides of the returned maps: some of 4, 8, 16 and 32, rising.

        Raises:
            DesignError: The architecture has no maps for a pyramid, or a stride is not available.
        """
        super().__init__()
        if architecture.merge in KEEPS_PREFIX:
            raise DesignError(f"the merge {architecture.merge} gives no map for a pyramid; use conv, linear or pyramid")
        self.piip = PIIP(architecture, drop_path, interaction_drop_path, checkpointing)
        if not strides or not set(strides) <= set(STRIDES):
            raise DesignError(f"a pyramid must have strides of {', '.join(map(str, STRIDES))}, got {tuple(strides)}")
        every = architecture.merged * (PYRAMID_LEVELS // len(architecture.merged))
        maps = [every[STRIDES.index(stride)] for stride in strides]
        self._levels = [STRIDES.index(stride) for stride in strides]
        self.pyramid = Pyramid([width for width, _ in maps], [stride for _, stride in maps], strides)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """A map for each stride, by default 4, 8, 16 and 32, of shape (B, C, H / stride, W / stride).

        C is the first branch's width.

        Args:
            image_BCHW: Images of any size, shape (B, 3, H, W).
        """
        merged = self.piip(image_BCHW)
        every = merged if isinstance(merged, tuple) else (merged,) * PYRAMID_LEVELS
        maps: tuple[Tensor, ...] = self.pyramid([every[level] for level in self._levels])
        return maps


class PIIPClassifier(nn.Module):
    """A PIIP network with the head of classification from scratch: norm, mean over tokens, linear layer."""

    def __init__(
        self,
        architecture: Architecture,
        drop_path: Sequence[float] | None = None,
        interaction_drop_path: float = 0.4,
        checkpointing: bool = False,
        classes: int = IMAGENET_CLASSES,
    ) -> None:
        """Builds the network; the first arguments are those of `PIIP`.

        Args:
            architecture: Architecture to build.
            drop_path: As in `PIIP`.
            interaction_drop_path: As in `PIIP`.
            checkpointing: As in `PIIP`.
            classes: Number of classes.

        Raises:
            DesignError: The branches are not merged by `linear`.
        """
        super().__init__()
        if architecture.merge != "linear":
            raise DesignError(
                f"classification from scratch merges branches by linear, got {architecture.merge}; write /linear, or "
                "fine-tune every branch's own head with /logits"
            )
        self.piip = PIIP(architecture, drop_path, interaction_drop_path, checkpointing)
        ((width, _),) = architecture.merged
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        self.head.apply(initialise)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Class scores, shape (B, K), for images of shape (B, 3, H, W)."""
        merged_BCHW: Tensor = self.piip(image_BCHW)
        scores_BK: Tensor = self.head(self.norm(merged_BCHW.permute(0, 2, 3, 1)).mean((1, 2)))
        return scores_BK
