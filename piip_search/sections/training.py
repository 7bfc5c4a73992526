"""The section `training`, as far as all tasks have it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from piip_search.sections.fields import Count, Positive, Section, Share

_WORDS = ("hub", "miniature")
"""Words for timm's hub and for the weights of this package, in the place of a folder of weights."""


class TrainingSection(Section):
    """The training of a proxy; the fidelity sets its length. A task adds its own fields.

    Attributes:
        batch_size: Images a step.
        learning_rate: Peak rate of AdamW.
        weight_decay: AdamW's decay; none on biases, norms and gates.
        warmup: Share of all steps during which the rate rises.
        clip_norm: Largest gradient norm.
        short_side: Short side of the box for an image, as a share of the design's image size, which is the long side.
        loader_workers: Processes that read images; 0 reads them in the training process. Results do not depend on it.
        cache_mib: Most memory for decoded images in each reading process, MiB.
        val_images: Validation images that measure a proxy, the same ones for all proxies; None for all images.
        measure_every: Epochs between two measurements of a training, for a learning curve; None measures only at its
            end.
        inherit: Whether a candidate starts from the weights of the nearest measured relative.
        threads: CPU threads of one trial.
        pretrained: Source of the branches' weights: `hub` for timm's, `miniature` for the small ones of this package,
            or a folder of files named like the timm models; None trains from random weights.
        layer_decay: Factor on the learning rate from each block of a ViT to the one before it; PIIP's recipes have 0.85
            with pre-trained branches, as an export does.
        precision: Precision of the backbone; the layers after it are float32.
        checkpointing: Whether only a block's input is saved for the backward pass: less memory, a third more work.
        cuda_graphs: Whether the backbone's steps on a GPU are recorded once a batch size and replayed, as small
            networks otherwise wait for the host. Takes memory for some more copies of the gradients.
    """

    unseen: ClassVar[tuple[str, ...]] = ("loader_workers", "cache_mib", "measure_every", "cuda_graphs")
    """Fields that do not change the results of a training."""

    batch_size: Annotated[int, Field(ge=1, le=65536)] = 8
    learning_rate: Positive = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip_norm: Positive = 1.0
    short_side: Share = 1.0
    loader_workers: Annotated[int, Field(ge=0)] = 0
    cache_mib: Annotated[int, Field(ge=0)] = 256
    val_images: Count | None = None
    measure_every: Count | None = None
    inherit: bool = False
    threads: Count = 1
    pretrained: str | None = None
    layer_decay: Share = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    cuda_graphs: bool = False

    @model_validator(mode="after")
    def _records_what_it_keeps(self) -> Self:
        if self.cuda_graphs and self.checkpointing:
            raise ValueError("cuda_graphs replays steps with all activations; leave out cuda_graphs or checkpointing")
        return self

    def box(self, side: int) -> tuple[int, int]:
        """Long and short side in pixels of the box for an image.

        Args:
            side: Image side of the design in pixels.
        """
        return side, int(side * self.short_side)

    @property
    def measured_share(self) -> float:
        """Share of a resized image's shorter side that is measured, where a task measures the centres of images."""
        return 1.0

    @property
    def named_paths(self) -> Mapping[str, Path]:
        """Fields with paths that are relative to the working directory, and these paths."""
        return {} if self.pretrained in (None, *_WORDS) else {"pretrained": Path(str(self.pretrained))}

    @property
    def programs(self) -> Mapping[str, Path]:
        """Fields with files that a training runs, and these files; their contents change its results."""
        return {}
