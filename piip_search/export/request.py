"""What is asked of an export."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from piip_search.architecture import Architecture
from piip_search.cost import Detector
from piip_search.export.mmdet_config import CocoPaths
from piip_search.export.provenance import Provenance
from piip_search.export.recipe import SCHEDULES, Schedule
from piip_search.spec import Training

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
        schedule: Of the full training.
        formats: What is written.
        start: What the full training starts from.
        images: Training and validation images, where they are known.
        provenance: Trial that the design comes from, if it comes from one.
        notes: Lines for the README.
    """

    architecture: Architecture
    data: CocoPaths
    training: Training
    schedule: Schedule = SCHEDULES["1x"]
    formats: tuple[Format, ...] = ("mmdet",)
    start: Start = RANDOM
    images: tuple[int, int] | None = None
    provenance: Provenance | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def detector(self) -> Detector:
        """What reads the maps, for the data set's own classes."""
        training = self.training
        return Detector(training.detector, training.channels, len(self.data.classes), training.max_detections)
