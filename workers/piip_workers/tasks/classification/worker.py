"""The worker of the task classification, put together from its modules."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.architecture import Architecture
from piip_search.architecture.stock import StockNetwork
from piip_search.config import SearchSpec
from piip_search.errors import UserError
from piip_search.evaluation.evaluation import Evaluation
from piip_search.export import Export, Start, TrainingPlan
from piip_search.sections import DataSection
from piip_search.tasks.classification.plan import ClassifierPlan
from piip_search.tasks.classification.recipe import classifier_schedule
from piip_search.tasks.classification.section import ClassificationData, ClassificationTraining
from piip_workers.tasks.task import Counted, DataReport

if TYPE_CHECKING:  # these import torch, which a check of data need not wait for
    from piip_workers.networks.proof import Proof
    from piip_workers.networks.weights import StartingWeights


class ClassificationWorker:
    """Trains classifiers on folders of class folders, or on lists of images."""

    measure = "piip_workers.tasks.classification.evaluate:measure"
    shared: str | None = None
    sample = 64

    def examine(self, spec: SearchSpec, progress: Callable[[str], None]) -> DataReport:
        from piip_workers.tasks.classification import data

        return data.examine(_of(spec), spec.searched_metrics, progress)

    def counted(self, network: StockNetwork, spec: SearchSpec, files: Mapping[str, Path]) -> StockNetwork:
        raise UserError(f"no stock network of the task classification is known, got {network.name}; give designs")

    def prepare(self, data: Any) -> None:
        from piip_workers.tasks.classification import data as data_sets

        data_sets.prepare(data)

    def resolved(self, data: Any) -> DataSection:
        from piip_workers.tasks.classification import data as data_sets

        return data_sets.resolved(data)

    def image_counts(self, data: Any) -> tuple[int, int] | None:
        from piip_workers.tasks.classification import data as data_sets

        return data_sets.image_counts(data)

    def undecodable_images(self, data: Any, wanted: int | None, progress: Counted) -> list[str]:
        from piip_workers.tasks.classification import data as data_sets

        return data_sets.undecodable_images(data, wanted, progress)

    def undecodable_training_images(
        self, data: Any, sample: int | None, ended: Callable[[], bool] = lambda: False
    ) -> DataReport:
        from piip_workers.tasks.classification import data as data_sets

        return data_sets.undecodable_training_images(data, sample, ended)

    def fingerprint(self, data: Any, progress: Counted) -> str:
        from piip_workers.tasks.classification import data as data_sets

        return data_sets.fingerprint(data, progress)

    def shared_images(self, data: Any) -> list[str]:
        from piip_workers.tasks.classification import data as data_sets

        return data_sets.shared_images(data)

    def plan(self, spec: SearchSpec, schedule: str) -> TrainingPlan:
        from piip_workers.tasks.classification import data as data_sets

        assert isinstance(spec.training, ClassificationTraining), "the search is of another task"
        return ClassifierPlan(data_sets.resolved(_of(spec)), spec.training, classifier_schedule(schedule))

    def prove(self, export: Export, folder: Path, proof: "Proof") -> None:
        from piip_workers.tasks.classification.proof import prove_classifier

        prove_classifier(export, folder, proof)

    def from_proxy(self, architecture: Architecture, evaluation: Evaluation, checkpoint: Path) -> "StartingWeights":
        from piip_workers.tasks.classification import starting_weights

        return starting_weights.from_classifier_proxy(architecture, evaluation, checkpoint)

    def from_pretrained(self, architecture: Architecture, place: str, plan: TrainingPlan) -> "StartingWeights":
        from piip_workers.tasks.classification import starting_weights

        return starting_weights.from_pretrained_branches(architecture, place, _plan(plan).classes)

    def at_random(self, architecture: Architecture, start: Start, plan: TrainingPlan) -> "StartingWeights":
        from piip_workers.tasks.classification import starting_weights

        return starting_weights.random_classifier(architecture, start, _plan(plan).classes)

    def train(self, arguments: Sequence[str] | None) -> int:
        from piip_workers.tasks.classification.full_training import main

        return main(arguments)

    def write_examples(self, folder: Path) -> int:
        from piip_workers.tasks.classification.examples import write_examples

        return write_examples(folder)


def _of(spec: SearchSpec) -> ClassificationData:
    assert isinstance(spec.data, ClassificationData), "the search is of another task"
    return spec.data


def _plan(plan: TrainingPlan) -> ClassifierPlan:
    assert isinstance(plan, ClassifierPlan), "the plan is of another task"
    return plan
