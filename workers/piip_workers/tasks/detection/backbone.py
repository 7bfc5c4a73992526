"""PIIP as a backbone of mmdet; importing this module prepares mmdet and registers the backbone as `PIIP`."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from piip_search.architecture import Architecture
from piip_search.architecture.segments import STRIDES
from piip_search.errors import UserError
from piip_search.file_paths import located
from piip_search.models import PIIP, PIIPPyramid
from piip_search.models.authors.checkpoint import from_official
from piip_search.models.weights.pretrained import load_pretrained, read_tensors
from piip_workers.mmlab.shims import install
from piip_workers.networks.cuda_graphs import Recorded

install()
from mmdet.registry import MODELS  # noqa: E402
from mmengine.model import BaseModule  # noqa: E402

import piip_workers.tasks.detection.assigner  # noqa: E402, F401


@MODELS.register_module(name="PIIP")
class PIIPBackbone(BaseModule):  # type: ignore[misc]
    """A PIIP network with its simple pyramid, built from a short form."""

    def __init__(
        self,
        architecture: str,
        drop_path: Sequence[float] | None = None,
        interaction_drop_path: float = 0.4,
        pretrained: str | None = None,
        checkpointing: bool = False,
        bfloat16: bool = False,
        strides: Sequence[int] = STRIDES,
        cuda_graphs: bool = False,
        compiled: bool | str = False,
        init_cfg: dict[str, object] | None = None,
    ) -> None:
        """Builds the network with random weights.

        Args:
            architecture: Short form, as `piip-search` prints it.
            drop_path: Drop-path rate of each branch.
            interaction_drop_path: Drop-path rate of the interactions' FFNs.
            pretrained: Source of the branches' weights for `init_weights`: `hub`, `miniature`, or a folder of files
                named like the timm models; or the path of a checkpoint of the authors' repository, for the whole
                backbone.
            checkpointing: Whether training stores only a block's input and runs the block again in the backward pass.
            bfloat16: Whether the network runs under its own bfloat16 autocast and returns float32 maps. Otherwise it
                follows an autocast around it, such as mmengine's `AmpOptimWrapper`.
            strides: Strides of the returned maps; DINO reads 8, 16 and 32.
            cuda_graphs: Whether training steps on a GPU are replayed (`piip_workers.networks.cuda_graphs`); excludes
                checkpointing and several GPUs.
            compiled: Whether `torch.compile` makes the kernels of training steps, or the name of its backend
                (`PIIP.compile_parts`). The first step of each of the first batch sizes waits for it.
            init_cfg: mmengine's configuration of weight loading.

        Raises:
            UserError: The short form is invalid, or `cuda_graphs` and `checkpointing` are both set.
        """
        if cuda_graphs and checkpointing:
            raise UserError("cuda_graphs replays steps with all activations; leave out cuda_graphs or checkpointing")
        super().__init__(init_cfg)
        self.architecture = Architecture.parse(architecture)
        self.network: nn.Module = PIIPPyramid(
            self.architecture, drop_path, interaction_drop_path, checkpointing, strides
        )
        self.pretrained, self.strides = pretrained, tuple(strides)
        self.bfloat16 = bfloat16
        if compiled:
            self.network.piip.compile_parts(compiled if isinstance(compiled, str) else "inductor")
        self._recorded = Recorded(self.network) if cuda_graphs else None

    def init_weights(self) -> None:
        """Loads the pre-trained weights, if any were named.

        Raises:
            UserError: The weights cannot be found or do not fit.
        """
        super().init_weights()
        if self.pretrained is None:
            return
        path = Path(self.pretrained)
        if path.suffix in (".pth", ".pt", ".bin", ".safetensors") and not path.is_file():
            raise UserError(
                f"no file {located(path)}; name an existing checkpoint, a folder of weights, hub or miniature"
            )
        if path.is_file() and len(self.architecture.branches) > 1:
            self.network.load_state_dict(from_official(read_tensors(path), self.architecture, self.strides))
        else:
            load_pretrained(cast(PIIP, self.network.piip), self.pretrained)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Maps of the chosen strides, each of shape (B, C, H / stride, W / stride), contiguous."""
        # A disabled autocast here would also disable one around the whole detector.
        own = torch.autocast(image_BCHW.device.type, torch.bfloat16) if self.bfloat16 else nullcontext()
        with own:
            maps = cast(tuple[Tensor, ...], (self._recorded or self.network)(image_BCHW))
        return tuple(map_BCHW.float() for map_BCHW in maps)
