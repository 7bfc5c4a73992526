"""The request of an export."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from piip_search.architecture import Architecture
from piip_search.config import Training
from piip_search.cost import Cost, conventions_of, price
from piip_search.export.mmdet.data import CocoPaths
from piip_search.export.mmdet.detectors import DETECTOR_CONFIGS, DetectorConfig
from piip_search.export.mmdet.recipe import SCHEDULES, TrainingLength
from piip_search.export.provenance import Provenance
from piip_search.tasks.detection.head import DetectorHead

Format = Literal["mmdet", "torch", "onnx"]
FORMATS: tuple[Format, ...] = get_args(Format)
WeightsKind = Literal["proxy", "pretrained", "random"]


@dataclass(frozen=True, slots=True)
class Start:
    """The starting weights of a full training.

    Attributes:
        kind: The proxy's weights, pre-trained branches, or random ones.
        text: A description for a reader, in a sentence or two.
        file: Name of the file in the export, if any.
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
    """A design to export, with everything that its files need.

    Attributes:
        architecture: The design.
        data: Data set of its training.
        training: Detector and recipe of the search.
        schedule: Schedule of the full training.
        formats: Formats to write.
        start: Starting weights of the full training.
        custom_detector: The detector around the backbone; by default the recipe's, if its cost is known.
        images: Number of training and validation images, if known.
        seed: Seed of the full training.
        proved: Whether the written files are tested.
        provenance: Trial of the design, if it comes from one.
        notes: Lines for the README.
    """

    architecture: Architecture
    data: CocoPaths
    training: Training
    schedule: TrainingLength = SCHEDULES["1x"]
    formats: tuple[Format, ...] = ("mmdet",)
    start: Start = RANDOM
    custom_detector: DetectorConfig | None = None
    images: tuple[int, int] | None = None
    seed: int = 0
    proved: bool = True
    provenance: Provenance | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def detector_config(self) -> DetectorConfig:
        """The detector around the backbone.

        Raises:
            KeyError: The recipe's detector has no known cost, and no other was given.
        """
        return self.custom_detector or DETECTOR_CONFIGS[self.training.detector]

    @property
    def head(self) -> DetectorHead | None:
        """The head of the detector for the data set's own classes; None if its cost is unknown."""
        training, name = self.training, self.training.known_detector
        if name is None:
            return None
        return DetectorHead(name, training.channels, len(self.data.classes), training.max_detections)

    @property
    def costs(self) -> dict[str, Cost]:
        """Cost of one image of the full size, under every convention that counts the design."""
        known = conventions_of(self.architecture, self.head)
        return {name: price(self.architecture, name, head=self.head) for name in known}
