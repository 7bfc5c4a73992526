"""One backbone at one image size."""

from dataclasses import dataclass

from piip_search.architecture.backbones import Backbone, ConvNeXt, backbone_named, with_patch
from piip_search.errors import DesignError


@dataclass(frozen=True, slots=True)
class Branch:
    """One backbone at one image size.

    Attributes:
        backbone: Name of a backbone (`piip_search.architecture.backbones`).
        resolution: Side of its square image in pixels; a multiple of the patch size.
        window: Side of an attention window in tokens; None for global attention in every block.
        global_every: Every n-th block attends globally although the others have windows; 0 for none.
        patch_size: Side of a ViT's resampled patches in pixels; None for its own size.

    Raises:
        DesignError: The backbone is unknown, or a number does not fit it.
    """

    backbone: str
    resolution: int
    window: int | None = None
    global_every: int = 0
    patch_size: int | None = None

    def __post_init__(self) -> None:
        own = backbone_named(self.backbone)
        if self.patch_size is not None and (self.patch_size < 1 or self.patch_size == own.patch):
            raise DesignError(
                f"patches of {self.patch_size} px are no change to {self.backbone}'s own {own.patch}; leave p out"
            )
        patch = self.model.patch
        if self.resolution < patch or self.resolution % patch:
            nearest = max(patch, round(self.resolution / patch) * patch)
            raise DesignError(
                f"resolution must be a positive multiple of {self.backbone}'s patch of {patch} px, "
                f"got {self.resolution}; nearest: {nearest}"
            )
        if isinstance(own, ConvNeXt) and (self.window is not None or self.global_every):
            raise DesignError(f"{self.backbone} has no attention, got window {self.window}; write {self.backbone}@224")
        if self.window is not None and self.window < 1:
            raise DesignError(f"window must be at least 1 token, got {self.window}; write g for global attention")
        if self.global_every and (self.window is None or not 2 <= self.global_every <= self.model.depth):
            raise DesignError(
                f"global_every must lie between 2 and {self.backbone}'s depth of {self.model.depth} and needs a "
                f"window, got global_every={self.global_every}, window={self.window}"
            )

    @property
    def model(self) -> Backbone:
        """The facts of the backbone."""
        own = backbone_named(self.backbone)
        return own if self.patch_size is None else with_patch(own, self.patch_size)

    @property
    def grid(self) -> int:
        """Number of whole patches along one side: the tokens of a ViT, the last stage's of a ConvNeXt."""
        return self.resolution // self.model.patch

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Window side of every block of a ViT, None for global attention."""
        every = self.global_every
        return tuple(None if every and block % every == every - 1 else self.window for block in range(self.model.depth))

    def __str__(self) -> str:
        if isinstance(self.model, ConvNeXt):
            return f"{self.backbone}@{self.resolution}"
        attention = "g" if self.window is None else f"w{self.window}"
        every = f"g{self.global_every}" if self.global_every else ""
        return f"{self.backbone}@{self.resolution}:{attention}{every}" + (
            f"p{self.patch_size}" if self.patch_size else ""
        )
