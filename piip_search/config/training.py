"""Sections `data` and `training` of a search."""

from typing import Annotated, Literal, Self, cast, get_args

from pydantic import AfterValidator, Field, model_validator

from piip_search.config.fields import Count, FilePath, Positive, Section, Share
from piip_search.config.messages import closest
from piip_search.tasks.detection.head import DetectorName

DETECTORS = (*get_args(DetectorName), "atss", "cascade_rcnn", "cascade_mask_rcnn", "dino")
"""Short names of detectors; the cost of the first ones is known."""

UNSEEN = ("loader_workers", "cache_mib", "measure_every", "cuda_graphs")
"""Settings of a training that do not change its results."""


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a jitter must be the least and the greatest factor, such as [0.8, 1.25], got {list(value)}")
    return value


Jitter = Annotated[tuple[Positive, Positive], Field(strict=False), AfterValidator(_ordered)]


Orientation = Literal["exif", "stored"]
"""Orientation of the annotated pixels: turned as EXIF says, or as stored."""


class Split(Section):
    """One part of a COCO-format data set.

    Attributes:
        images: Folder of the images, relative to the data root.
        annotations: COCO instances JSON, relative to the data root.
        orientation: `exif` for annotations of pixels turned as EXIF says, `stored` for annotations of the pixels as
            stored; None determines it by the images' sizes.
        bits: Bits in use of images with 16 bits a channel, such as 12 for many cameras: the largest number of so many
            bits is white. None for all 16.
    """

    images: FilePath
    annotations: FilePath
    orientation: Orientation | None = None
    bits: Annotated[int, Field(ge=8, le=16)] | None = None


class Data(Section):
    """The data set: a COCO-format folder, or `embedded: digits`, which needs no download.

    Attributes:
        embedded: A data set that is created on first use.
        root: Folder of the two parts; relative to the working directory.
        train: Part for training proxies.
        val: Part for measuring them.
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
    """The training of a proxy; the fidelity sets its length.

    Attributes:
        detector: Detector around the PIIP backbone: retinanet, fcos or mask_rcnn, whose cost is known; atss,
            cascade_rcnn, cascade_mask_rcnn or dino; or any configuration of mmdet, as mmdet::folder/name.py or a file.
        channels: Width of neck and head of a detector of known cost; others keep their own.
        batch_size: Images a step.
        learning_rate: Peak rate of AdamW.
        weight_decay: AdamW's decay; none on biases, norms and gates.
        warmup: Share of all steps during which the rate rises.
        clip_norm: Largest gradient norm.
        flip: Probability of a horizontal flip.
        short_side: Short side of the box for an image, as a share of the design's image size, which is the long side.
        scale_jitter: Least and greatest factor on the fitted image's size, drawn for every image; larger images are
            cropped to the box. None for none.
        colour_jitter: Whether brightness, contrast, saturation and hue change at random.
        loader_workers: Processes that read images; 0 reads them in the training process. Results do not depend on it.
        cache_mib: Most memory for decoded images in each reading process, MiB.
        val_images: Validation images that measure a proxy, the same ones for all proxies; None for all images.
        measure_every: Epochs between two measurements of a training, for a learning curve; None measures only at its
            end.
        inherit: Whether a candidate starts from the weights of the nearest measured relative.
        max_detections: Most boxes an image that the averages include, 100 in COCO's own.
        anchor_scale: Side of the smallest anchors over the stride of their map, smaller for smaller objects; None for
            the detector's own (4 in retinanet, 8 in mask_rcnn).
        threads: CPU threads of one trial.
        pretrained: Source of the branches' weights: `hub` for timm's, or a folder of files named like the timm models;
            None trains from random weights.
        layer_decay: Factor on the learning rate from each block of a ViT to the one before it; PIIP's detection recipe
            has 0.85 with pre-trained branches, as an export does.
        precision: Precision of the backbone; neck and head are float32.
        checkpointing: Whether only a block's input is saved for the backward pass: less memory, a third more work.
        cuda_graphs: Whether the backbone's steps on a GPU are recorded once a batch size and replayed, as small
            networks otherwise wait for the host. Takes memory for some more copies of the gradients.
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
            raise ValueError("cuda_graphs replays steps with all activations; leave out cuda_graphs or checkpointing")
        return self

    @property
    def known_detector(self) -> DetectorName | None:
        """The detector's name if its cost is known in closed form."""
        return cast(DetectorName, self.detector) if self.detector in get_args(DetectorName) else None
