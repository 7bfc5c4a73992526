"""The full training of a detector as files: for mmdet 3, and for the authors' code base."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from piip_search.cost import Head
from piip_search.export import Export, PixelNorm, Reading
from piip_search.export.settings import HERE, render
from piip_search.tasks.detection.authors.config import CONFIG_PLACE, official_config, refusals, remarks
from piip_search.tasks.detection.head import DetectorHead
from piip_search.tasks.detection.mmdet.config import MEAN, STD, full_config
from piip_search.tasks.detection.mmdet.data import CocoPaths
from piip_search.tasks.detection.mmdet.detectors import DETECTOR_CONFIGS, DetectorConfig
from piip_search.tasks.detection.mmdet.recipe import SCHEDULES, TrainingLength
from piip_search.tasks.detection.readme import detector_section
from piip_search.tasks.detection.section import DetectionTraining

CONFIG = "config.py"
"""File of the mmdet configuration."""
OFFICIAL = "official_config.py"
"""File of the configuration for the authors' repository."""
UNREADABLE = "unreadable.txt"
"""File with a list of undecodable training images."""


@dataclass(frozen=True, slots=True)
class DetectorPlan:
    """The full training of a detector.

    Attributes:
        data: Data set.
        training: Detector and recipe of the search.
        schedule: Schedule.
        custom_detector: The detector around the backbone; by default the recipe's, if its cost is known.
    """

    data: CocoPaths
    training: DetectionTraining
    schedule: TrainingLength = SCHEDULES["1x"]
    custom_detector: DetectorConfig | None = None

    @property
    def detector_config(self) -> DetectorConfig:
        """The detector around the backbone.

        Raises:
            KeyError: The recipe's detector has no known cost, and no other was given.
        """
        return self.custom_detector or DETECTOR_CONFIGS[self.training.detector]

    @property
    def head(self) -> Head | None:
        """The head of the detector for the data set's own classes; None if its cost is unknown."""
        training, name = self.training, self.training.known_detector
        if name is None:
            return None
        return DetectorHead(name, training.channels, len(self.data.classes), training.max_detections)

    @property
    def title(self) -> str:
        count = len(self.data.classes)
        classes = f"{count} class" if count == 1 else f"{count} classes"
        return f"{self.training.detector} on the images of `{self.data.train.annotations}`, {classes}"

    @property
    def outputs(self) -> str:
        return "the maps of strides 4, 8, 16 and 32 that a detector's neck reads"

    @property
    def norm(self) -> PixelNorm:
        return (MEAN[0], MEAN[1], MEAN[2]), (STD[0], STD[1], STD[2])

    @property
    def reading(self) -> Reading:
        return "fit"

    def starting(self, pretrained: str | None) -> Self:
        return replace(self, training=self.training.model_copy(update={"pretrained": pretrained}))

    def files(self, export: Export) -> Mapping[str, str]:
        if "mmdet" not in export.formats:
            return {}
        official = {} if refusals(export.architecture, self.training) else {OFFICIAL: self._official(export)}
        return {CONFIG: self._mmdet(export), **official}

    def readme(self, export: Export) -> str:
        if "mmdet" not in export.formats:
            return ""
        return detector_section(export, self.data, self.training, self.schedule)

    def _mmdet(self, export: Export) -> str:
        weights, unreadable = (None if file is None else f"{HERE}/{file}" for file in (export.start.file, UNREADABLE))
        settings = full_config(
            export.architecture,
            self.data,
            self.training,
            self.schedule,
            images=None if export.images is None else export.images[0],
            weights=weights,
            detector_config=self.detector_config,
            seed=export.seed,
            unreadable=unreadable,
        )
        title = f"{export.architecture.name}, written by piip-search; the README says how to train it"
        return render(settings, title, [value for value in (weights, unreadable) if value])

    def _official(self, export: Export) -> str:
        settings = official_config(export.architecture, self.data, self.training, self.schedule)
        title = (
            f"{export.architecture.name}, written by piip-search for the authors' code base: copy it into "
            f"{CONFIG_PLACE}/"
        )
        return render(settings, "\n# ".join([title, *remarks(export.architecture, self.data, self.training)]))


def detector_plan(export: Export) -> DetectorPlan:
    """The plan of an export of this task."""
    assert isinstance(export.plan, DetectorPlan), "the export is of another task"
    return export.plan
