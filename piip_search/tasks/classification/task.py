"""The task classification, put together from its parts."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from piip_search.architecture.segments import Merge
from piip_search.cost import Convention, Head
from piip_search.sections import DataSection, TrainingSection
from piip_search.tasks.classification.facts import CLASSIFICATION_METRICS
from piip_search.tasks.classification.head import IMAGENET_HEAD
from piip_search.tasks.classification.plan import CLASSIFIER_FILE
from piip_search.tasks.classification.recipe import CLASSIFIER_SCHEDULES
from piip_search.tasks.classification.section import ClassificationData, ClassificationTraining
from piip_search.tasks.task import Metric, Task


class Classification:
    """The class of a whole image."""

    name = "classification"
    extra = "classification"
    packages: Mapping[str, str] = MappingProxyType(
        {"torchvision": "torchvision", "PIL": "pillow", "cv2": "opencv-python", "sklearn": "scikit-learn"}
    )
    metrics: tuple[Metric, ...] = CLASSIFICATION_METRICS
    merges: tuple[Merge, ...] = ("linear", "logits")
    published: str | None = "classification"
    stock: Mapping[str, str] = MappingProxyType({})
    shares = False
    data: type[DataSection] = ClassificationData
    training: type[TrainingSection] = ClassificationTraining
    paths: tuple[tuple[str, ...], ...] = (
        ("data", "root"),
        ("data", "train", "images"),
        ("data", "train", "list"),
        ("data", "val", "images"),
        ("data", "val", "list"),
        ("training", "pretrained"),
    )
    heads: Mapping[str, Head] = MappingProxyType({"imagenet": IMAGENET_HEAD})
    formats: tuple[str, ...] = ("timm", "torch", "onnx")
    files: tuple[str, ...] = (CLASSIFIER_FILE,)
    schedules: tuple[str, ...] = tuple(CLASSIFIER_SCHEDULES)
    images_a_step: int | None = None
    batch_setting = "training.batch_size"

    def stock_config(self, name: str) -> str | None:
        return None

    def model(self, training: Any) -> str:
        return "classifier"

    def head(self, training: Any) -> Head | None:
        """A head for ImageNet's 1000 classes, so that pricing needs no data."""
        return IMAGENET_HEAD

    def problems(self, metrics: Sequence[str], convention: Convention, training: Any) -> Iterator[str]:
        return iter(())


CLASSIFICATION: Task = Classification()
