"""The worker of the task detection, put together from its modules."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.architecture import Architecture
from piip_search.architecture.stock import StockNetwork
from piip_search.config import SearchSpec
from piip_search.errors import DataError, UserError
from piip_search.evaluation.evaluation import Evaluation
from piip_search.export import Export, Start, TrainingPlan
from piip_search.sections import DataSection
from piip_search.tasks.detection.mmdet.detectors import DETECTOR_CONFIGS, DetectorConfig
from piip_search.tasks.detection.mmdet.recipe import schedule_named
from piip_search.tasks.detection.plan import DetectorPlan
from piip_search.tasks.detection.section import DetectionData, DetectionTraining
from piip_workers.quiet import quiet
from piip_workers.tasks.task import Counted, DataReport

if TYPE_CHECKING:  # these import torch, which a check of data need not wait for
    from piip_workers.networks.proof import Proof
    from piip_workers.networks.weights import StartingWeights


class DetectionWorker:
    """Trains detectors of mmdet on data sets in COCO format."""

    measure = "piip_workers.tasks.detection.evaluate:measure"
    shared: str | None = "piip_workers.tasks.detection.shared:SharedDetectors"
    sample = 64

    def examine(self, spec: SearchSpec, progress: Callable[[str], None]) -> DataReport:
        from piip_workers.tasks.detection import data

        found, training = _data(spec), _training(spec)
        of_masks = [metric for metric in spec.searched_metrics if metric.startswith("segm")]
        config = _detector_config(training, of_masks)
        masks = bool(of_masks) if isinstance(config, str) else config.masks
        report = data.examine(found, masks, progress)
        if isinstance(config, str):
            report.problems.insert(0, config)
        elif not report.problems:
            sides = smallest_box(spec)
            for metric in spec.searched_metrics:
                lines = data.unsuited(found, metric, training.detector, masks, sides)
                report.problems += [line for line in lines if line not in report.problems]
        return report

    def counted(self, network: StockNetwork, spec: SearchSpec, files: Mapping[str, Path]) -> StockNetwork:
        with quiet(Path(os.devnull)):
            from piip_workers.tasks.detection.stock import counted_stock

            return counted_stock(network, spec, files)

    def prepare(self, data: Any) -> None:
        from piip_workers.tasks.detection import data as data_sets

        data_sets.prepare(data)

    def resolved(self, data: Any) -> DataSection:
        from piip_workers.tasks.detection import data as data_sets

        return data_sets.resolved(data)

    def image_counts(self, data: Any) -> tuple[int, int] | None:
        from piip_workers.tasks.detection import data as data_sets

        return data_sets.image_counts(data)

    def undecodable_images(self, data: Any, wanted: int | None, progress: Counted) -> list[str]:
        from piip_workers.tasks.detection import data as data_sets

        return data_sets.undecodable_images(data, wanted, progress)

    def undecodable_training_images(
        self, data: Any, sample: int | None, ended: Callable[[], bool] = lambda: False
    ) -> DataReport:
        from piip_workers.tasks.detection import data as data_sets

        return data_sets.undecodable_training_images(data, sample, ended)

    def fingerprint(self, data: Any, progress: Counted) -> str:
        from piip_workers.tasks.detection import data as data_sets

        return data_sets.fingerprint(data, progress)

    def shared_images(self, data: Any) -> list[str]:
        from piip_workers.tasks.detection import data as data_sets

        return data_sets.shared_images(data)

    def plan(self, spec: SearchSpec, schedule: str) -> TrainingPlan:
        from piip_workers.tasks.detection import data
        from piip_workers.tasks.detection.detectors import detector_config_of

        found, training = _data(spec), _training(spec)
        config = detector_config_of(training)
        try:
            paths = data.prepare(found, config.masks)
        except OSError:
            raise DataError("\n".join(data.check(found, config.masks))) from None
        return DetectorPlan(paths, training, schedule_named(schedule), config)

    def prove(self, export: Export, folder: Path, proof: "Proof") -> None:
        from piip_workers.tasks.detection.proof import prove_mmdet

        prove_mmdet(export, folder, proof)

    def from_proxy(self, architecture: Architecture, evaluation: Evaluation, checkpoint: Path) -> "StartingWeights":
        from piip_workers.tasks.detection import starting_weights

        return starting_weights.from_proxy(architecture, evaluation, checkpoint)

    def from_pretrained(self, architecture: Architecture, place: str, plan: TrainingPlan) -> "StartingWeights":
        from piip_workers.tasks.detection import starting_weights

        return starting_weights.from_pretrained(architecture, place)

    def at_random(self, architecture: Architecture, start: Start, plan: TrainingPlan) -> "StartingWeights":
        from piip_workers.tasks.detection import starting_weights

        return starting_weights.at_random(architecture, start)

    def train(self, arguments: Sequence[str] | None) -> int:
        from piip_workers.tasks.detection.full_training import main

        return main(arguments)

    def write_examples(self, folder: Path) -> int:
        from piip_workers.tasks.detection.examples import write_examples

        return write_examples(folder)


def smallest_box(spec: SearchSpec) -> tuple[float, float]:
    """Long and short side in pixels of the box for images in the smallest design."""
    jitter = _training(spec).scale_jitter
    side = min(spec.space.resolutions) * spec.fidelity.image_scale * min(1.0, jitter[0] if jitter else 1.0)
    return side, side * spec.training.short_side


def _data(spec: SearchSpec) -> DetectionData:
    assert isinstance(spec.data, DetectionData), "the search is of another task"
    return spec.data


def _training(spec: SearchSpec) -> DetectionTraining:
    assert isinstance(spec.training, DetectionTraining), "the search is of another task"
    return spec.training


def _detector_config(training: DetectionTraining, of_masks: Sequence[str]) -> DetectorConfig | str:
    """The detector, or its problem; the configuration of another mmdet detector is read, which takes seconds."""
    detector_config = DETECTOR_CONFIGS.get(training.detector)
    if detector_config is None:
        from piip_workers.tasks.detection.detectors import detector_config_of

        try:
            detector_config = detector_config_of(training)
        except UserError as error:
            return str(error)
    if of_masks and not detector_config.masks:
        base = detector_config.base
        return f"metric: {of_masks[0]} needs a detector with masks, and {base} has none; choose a bbox_mAP"
    return detector_config
