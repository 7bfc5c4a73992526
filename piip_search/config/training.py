"""Sections `data` and `training`: what proxies are trained on, and how."""

from typing import Annotated, Literal, Self, cast, get_args

from pydantic import AfterValidator, Field, model_validator

from piip_search.config.fields import Count, FilePath, Positive, Section, Share
from piip_search.config.messages import closest
from piip_search.cost import DetectorName

DETECTORS = (*get_args(DetectorName), "atss", "cascade_rcnn", "cascade_mask_rcnn", "dino")
"""Detectors by a short name; the cost of the first ones is known."""

UNSEEN = ("loader_workers", "cache_mib", "measure_every", "cuda_graphs")
"""Settings of a training that leave its results as they are."""


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a jitter is the least and the greatest factor, such as [0.8, 1.25], got {list(value)}")
    return value


Jitter = Annotated[tuple[Positive, Positive], Field(strict=False), AfterValidator(_ordered)]


Orientation = Literal["exif", "stored"]
"""Annotations are of the pixels turned as EXIF says, or as they are stored."""


class Split(Section):
    """One part of a COCO-format data set.

    Attributes:
        images: Folder of the images, relative to the data root.
        annotations: COCO instances json, relative to the data root.
        orientation: `exif` where annotations are of the pixels turned as an image's EXIF says, `stored` where they are
            of the pixels as stored; None tells it by the images' sizes.
        bits: Bits that images of 16 bits a channel use, such as 12 for many cameras: the largest number of so many bits
            is white. None for all 16.
    """

    images: FilePath
    annotations: FilePath
    orientation: Orientation | None = None
    bits: Annotated[int, Field(ge=8, le=16)] | None = None


class Data(Section):
    """Where the images are: a COCO-format folder, or `embedded: digits`, which needs no download.

    Attributes:
        embedded: A data set that is composed on first use.
        root: Folder that the two parts are relative to; itself relative to the working directory.
        train: What proxies are trained on.
        val: What they are measured on.
    """

    embedded: Literal["digits"] | None = None
    root: FilePath | None = None
    train: Split | None = None
    val: Split | None = None

    @model_validator(mode="after")
    def _either_way(self) -> Self:
        own = (self.root, self.train, self.val)
        if self.embedded and any(part is not None for part in own):
            raise ValueError("give either embedded or root, train and val, not both")
        if not self.embedded and any(part is None for part in own):
            raise ValueError("give root, train and val of a COCO-format data set, or embedded: digits")
        return self


class Training(Section):
    """How a proxy is trained; the fidelity says how long.

    Attributes:
        detector: Detector around the PIIP backbone: retinanet, fcos or mask_rcnn, whose cost is known; atss,
            cascade_rcnn, cascade_mask_rcnn or dino; or any configuration of mmdet, as mmdet::folder/name.py or a file.
        channels: Width of neck and head of a detector whose cost is known; others keep their own.
        batch_size: Images a step.
        learning_rate: Peak rate of AdamW.
        weight_decay: AdamW's decay; none on biases, norms and gates.
        warmup: Share of all steps in which the rate rises.
        clip_norm: Largest gradient norm.
        flip: Chance of a horizontal flip.
        short_side: Images are fitted into a box of the architecture's image size by this share of it.
        scale_jitter: Least and greatest factor on the fitted image's size, drawn for every image; what exceeds the box
            is cropped. None for none.
        colour_jitter: Whether brightness, contrast, saturation and hue are changed at random.
        loader_workers: Processes that read images; 0 reads them in the training process. Results do not depend on it.
        cache_mib: Most memory for decoded images in each process that reads, MiB.
        val_images: Validation images that a proxy is measured on, the same ones for all; None for all images.
        measure_every: Epochs between two measurements of a training, for a learning curve; None for one at its end.
        inherit: Whether a candidate starts from the weights of the nearest relative that was measured.
        max_detections: Boxes kept an image and looked at by the averages, 100 in COCO's own.
        anchor_scale: Side of the smallest anchors over the stride of their map; None for the detector's own (4 in
            retinanet, 8 in mask_rcnn). Smaller for smaller objects.
        threads: CPU threads of one trial.
        pretrained: Where the branches' weights come from: `hub` for timm's, or a folder of files named like the timm
            models; None trains from random weights.
        layer_decay: Factor on the learning rate from each block of a ViT to the one before it; PIIP's detection recipe
            takes 0.85 with pre-trained branches, as an export does.
        precision: Precision of the backbone; neck and head are float32.
        checkpointing: Whether a block's input alone is kept for the backward pass: less memory, a third more work.
        cuda_graphs: Whether the backbone's steps on a GPU are recorded once for each size of batch and replayed: small
            networks wait for the host otherwise. Takes memory for some more copies of the gradients.
    """

    detector: str = "retinanet"
    channels: Annotated[int, Field(ge=16, le=8192, multiple_of=16)] = 256
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 8
    learning_rate: Positive = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip_norm: Positive = 1.0
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    scale_jitter: Jitter | None = None
    colour_jitter: bool = False
    short_side: Share = 1.0
    loader_workers: Annotated[int, Field(ge=0)] = 0
    cache_mib: Annotated[int, Field(ge=0)] = 256
    val_images: Count | None = None
    measure_every: Count | None = None
    inherit: bool = False
    max_detections: Count = 100
    anchor_scale: Positive | None = None
    threads: Count = 1
    pretrained: str | None = None
    layer_decay: Share = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    cuda_graphs: bool = False

    @model_validator(mode="after")
    def _fits_the_detector(self) -> Self:
        if self.detector not in DETECTORS and not self.detector.endswith(".py"):
            raise ValueError(
                f"unknown detector {self.detector!r}{closest(self.detector, DETECTORS)}; "
                "or a configuration of mmdet, such as mmdet::atss/atss_r50_fpn_1x_coco.py or a file"
            )
        if self.known_detector is None and self.anchor_scale is not None:
            raise ValueError(f"anchor_scale is for retinanet and mask_rcnn; set anchors in the file of {self.detector}")
        if self.detector == "fcos" and self.anchor_scale is not None:
            raise ValueError("anchor_scale has no meaning for fcos, which has no anchors; leave it out")
        if self.detector == "fcos" and self.channels % 32:
            raise ValueError(f"channels must be a multiple of 32 for fcos's group norms, got {self.channels}")
        if self.cuda_graphs and self.checkpointing:
            raise ValueError("cuda_graphs replay steps that keep everything; leave it or checkpointing out")
        return self

    @property
    def known_detector(self) -> DetectorName | None:
        """The detector, where its cost is known in closed form."""
        return cast(DetectorName, self.detector) if self.detector in get_args(DetectorName) else None
