"""One YAML file, as a checked value: what may be built, on which data, at what effort, within which budgets."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

DetectorName = Literal["fcos", "retinanet", "mask_rcnn"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(_Section):
    """One part of a COCO-format data set.

    Attributes:
        images: Folder of the images, relative to the data root.
        annotations: COCO instances json, relative to the data root.
    """

    images: Path
    annotations: Path


class Data(_Section):
    """Where the images are: a COCO-format folder, or `embedded: digits`, which needs no download."""

    embedded: Literal["digits"] | None = None
    root: Path | None = None
    train: Split | None = None
    val: Split | None = None


class Training(_Section):
    """How a proxy is trained; the fidelity says how long.

    Attributes:
        detector: mmdet detector around the PIIP backbone.
        channels: Width of the detector's neck and head.
        batch_size: Images a step.
        learning_rate: Peak rate of AdamW.
        weight_decay: AdamW's decay; none on biases, norms and gates.
        warmup: Share of all steps in which the rate rises.
        clip_norm: Largest gradient norm.
        flip: Chance of a horizontal flip.
        loader_workers: Processes that read images; 0 reads them in the training process.
        max_detections: Boxes kept an image, also COCO's largest maxDets.
        threads: CPU threads of one trial.
    """

    detector: DetectorName = "retinanet"
    channels: Annotated[int, Field(ge=16, multiple_of=16)] = 256
    batch_size: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    loader_workers: Annotated[int, Field(ge=0)] = 0
    max_detections: Annotated[int, Field(ge=1)] = 100
    threads: Annotated[int, Field(ge=1)] = 1
