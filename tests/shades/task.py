"""The task as a search and an export know it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from piip_search.architecture.segments import Merge
from piip_search.cost import Convention, Cost, Grid, MergedMaps, Part
from piip_search.export import Export, PixelNorm, Reading
from piip_search.sections import DataSection, TrainingSection
from piip_search.sections.fields import Count, FilePath
from piip_search.tasks import Head, Metric

TRAINING_FILE = "shades.json"


@dataclass(frozen=True, slots=True)
class MeanHead:
    """The mean of the merged map, and a linear layer with one output."""

    merges: tuple[Merge, ...] = ("conv", "linear")

    def parts(self, merged: MergedMaps, sides: Grid) -> tuple[Part, ...]:
        width = merged[0][0]
        return (Part("head", "linear", Cost(width, width + 1, width)),)

    def live_values(self, merged: MergedMaps, sides: Grid) -> int:
        return merged[0][0]


class ShadesData(DataSection):
    """A folder with a list of images and their brightness, or images that are made from a seed."""

    embedded: Literal["grey"] | None = None
    shades: FilePath | None = None

    @model_validator(mode="after")
    def _either_way(self) -> Self:
        if (self.embedded is None) == (self.root is None or self.shades is None):
            raise ValueError("give root and shades, or embedded: grey")
        return self


class ShadesTraining(TrainingSection):
    """The training of a regression."""

    images: Count = 16


@dataclass(frozen=True)
class ShadesPlan:
    """A full training as a file of JSON."""

    training: ShadesTraining
    schedule: str
    head: Head | None = MeanHead()
    title: str = "a regression on grey images"
    outputs: str = "one map"
    norm: PixelNorm = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    reading: Reading = "fit"

    def starting(self, pretrained: str | None) -> Self:
        return replace(self, training=self.training.model_copy(update={"pretrained": pretrained}))

    def files(self, export: Export) -> Mapping[str, str]:
        settings = self.training.model_dump(mode="json", exclude_defaults=True)
        content = {"architecture": export.architecture.name, "epochs": 3, "training": settings}
        return {TRAINING_FILE: json.dumps(content)} if "shades" in export.formats else {}

    def readme(self, export: Export) -> str:
        return f"\n## Train\n\nThe schedule {self.schedule}.\n" if "shades" in export.formats else ""


@dataclass(frozen=True)
class Shades:
    """Regression of a brightness; without heads, none has a known cost."""

    heads: Mapping[str, Head] = field(default_factory=lambda: {"mean": MeanHead()})
    name = "shades"
    shares = False
    extra = "models"
    packages: ClassVar[Mapping[str, str]] = MappingProxyType({})
    metrics = (
        Metric("closeness", "closeness", "One minus the mean distance of prediction and brightness."),
        Metric("distance", "distance", "Mean distance of prediction and brightness.", "lower"),
    )
    merges: ClassVar[tuple[Merge, ...]] = ("conv", "linear")
    published: ClassVar[str | None] = None
    stock: ClassVar[Mapping[str, str]] = MappingProxyType({})
    data: ClassVar[type[DataSection]] = ShadesData
    training: ClassVar[type[TrainingSection]] = ShadesTraining
    paths = (("data", "root"), ("data", "shades"), ("training", "pretrained"))
    formats = ("shades",)
    files = (TRAINING_FILE,)
    schedules = ("short",)
    images_a_step = 4
    batch_setting = "batch_size"

    def stock_config(self, name: str) -> str | None:
        return None

    def model(self, training: Any) -> str:
        return "mean"

    def head(self, training: Any) -> Head | None:
        return self.heads.get("mean")

    def problems(self, metrics: Sequence[str], convention: Convention, training: Any) -> Iterator[str]:
        if training.images < 2:
            yield f"training.images must be at least 2, got {training.images}; give more"
