"""What is asked of an export."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from piip_search.architecture import Architecture
from piip_search.config import Training
from piip_search.cost import COCO_MASK_RCNN, Cost, DetectorCost, conventions_of, price
from piip_search.export.mmdet.data import CocoPaths
from piip_search.export.mmdet.detectors import DETECTOR_CONFIGS, DetectorConfig
from piip_search.export.mmdet.recipe import SCHEDULES, TrainingLength
from piip_search.export.provenance import Provenance

Format = Literal["mmdet", "torch", "onnx"]
FORMATS: tuple[Format, ...] = get_args(Format)
WeightsKind = Literal["proxy", "pretrained", "random"]


@dataclass(frozen=True, slots=True)
class Start:
    """What the full training starts from.

    Attributes:
        kind: The proxy's weights, pre-trained branches, or random ones.
        text: The same for a reader, a sentence or two.
        file: Name of the file in the export, where there is one.
    """

    kind: WeightsKind
    text: str
    file: str | None = None


RANDOM = Start(
    "random",
    "Weights start at random; results like the published ones need pre-trained branches: set "
    "`model.backbone.pretrained` to `hub` or to a folder of files.",
)


@dataclass(frozen=True, slots=True)
class Export:
    """A design that leaves, and all that its files say.

    Attributes:
        architecture: The design.
        data: What its training sees.
        training: Detector and recipe of the search.
        schedule: Schedule of the full training.
        formats: What is written.
        start: What the full training starts from.
        reader: The detector around the backbone; by default the recipe's, where its cost is known.
        images: Training and validation images, where they are known.
        seed: Seed of the full training.
        proved: Whether what is written is tried.
        provenance: Trial that the design comes from, if it comes from one.
        notes: Lines for the README.
    """

    architecture: Architecture
    data: CocoPaths
    training: Training
    schedule: TrainingLength = SCHEDULES["1x"]
    formats: tuple[Format, ...] = ("mmdet",)
    start: Start = RANDOM
    reader: DetectorConfig | None = None
    images: tuple[int, int] | None = None
    seed: int = 0
    proved: bool = True
    provenance: Provenance | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def around(self) -> DetectorConfig:
        """The detector around the backbone.

        Raises:
            KeyError: It is none of the known ones, and none was given.
        """
        return self.reader or DETECTOR_CONFIGS[self.training.detector]

    @property
    def detector(self) -> DetectorCost | None:
        """The detector as the cost model knows it, for the data set's own classes; None where it does not."""
        training, name = self.training, self.training.known_detector
        if name is None:
            return None
        return DetectorCost(name, training.channels, len(self.data.classes), training.max_detections)

    @property
    def costs(self) -> dict[str, Cost]:
        """What one image of the full size costs, under every convention that counts the design."""
        known = self.detector
        return {
            name: price(self.architecture, name, detector=known or COCO_MASK_RCNN)
            for name in conventions_of(self.architecture)
            if name != "detector" or known is not None
        }
