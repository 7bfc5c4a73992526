"""PIIP as a backbone of mmdet. Importing this module makes mmdet usable and registers the backbone under `PIIP`."""

from collections.abc import Sequence

from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.models import PIIPPyramid
from piip_workers.openmmlab import install

install()
from mmdet.registry import MODELS  # noqa: E402
from mmengine.model import BaseModule  # noqa: E402


@MODELS.register_module(name="PIIP")
class PIIPBackbone(BaseModule):  # type: ignore[misc]
    """A PIIP network with its simple pyramid, built from a short form."""

    def __init__(
        self,
        architecture: str,
        drop_path: Sequence[float] | None = None,
        interaction_drop_path: float = 0.4,
        init_cfg: dict[str, object] | None = None,
    ) -> None:
        """Builds the network with random weights.

        Args:
            architecture: Short form, as `piip-search` prints it.
            drop_path: Drop-path rate of each branch.
            interaction_drop_path: Drop-path rate of the interactions' FFNs.
            init_cfg: mmengine's way to load weights.

        Raises:
            ValueError: The short form describes no network.
        """
        super().__init__(init_cfg)
        self.network: nn.Module = PIIPPyramid(Architecture.parse(architecture), drop_path, interaction_drop_path)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Maps of strides 4, 8, 16 and 32, each of shape (B, C, H / stride, W / stride), contiguous."""
        maps: tuple[Tensor, ...] = self.network(image_BCHW)
        return maps
