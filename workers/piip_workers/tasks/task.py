"""The interface of a task's worker: what is measured, read, written and drawn for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from piip_search.architecture import Architecture
from piip_search.architecture.stock import StockNetwork
from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Evaluation
from piip_search.export import Export, Start, TrainingPlan
from piip_search.sections import DataSection

if TYPE_CHECKING:  # these import torch, which a check of data need not wait for
    from piip_workers.networks.proof import Proof
    from piip_workers.networks.weights import StartingWeights

Counted = Callable[[int, int], None]
"""Reports the number of done images, and of all."""


@dataclass
class DataReport:
    """The findings about a data set.

    Attributes:
        problems: Reasons why it cannot be used, one line each with file, place and way out.
        notices: Ways in which it is read that a user may not expect.
    """

    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


class TaskWorker(Protocol):
    """The worker of a task. Its functions import their libraries, so that asking for a worker costs nothing."""

    @property
    def measure(self) -> str:
        """Module and function that measures a candidate: `module:function` for `piip_workers.jobs.job.Work`."""
        ...

    @property
    def shared(self) -> str | None:
        """Module and class for weights of many designs (`piip_workers.shared.task`), as `module:class`; or None."""
        ...

    @property
    def sample(self) -> int:
        """Number of training images that are decoded before a search starts."""
        ...

    def examine(self, spec: SearchSpec, progress: Callable[[str], None]) -> DataReport:
        """Checks the data of a search, and its use for the training and the metric, before anything is decoded."""
        ...

    def counted(self, network: StockNetwork, spec: SearchSpec, files: Mapping[str, Path]) -> StockNetwork:
        """A stock network with its counted cost, under the convention and at the priced image of a search.

        Args:
            network: Stock network.
            spec: Search.
            files: Users' own files, by the configurations of their networks.

        Raises:
            UserError: It cannot be built or counted here.
        """
        ...

    def prepare(self, data: Any) -> None:
        """Creates data that comes with the package."""
        ...

    def resolved(self, data: Any) -> DataSection:
        """The data with all that was found out about it, for workers on other machines."""
        ...

    def image_counts(self, data: Any) -> tuple[int, int] | None:
        """Number of training and validation images; None if the data is not on this machine."""
        ...

    def undecodable_images(self, data: Any, wanted: int | None, progress: Counted) -> list[str]:
        """Validation images that cannot be decoded, one line each.

        Args:
            data: Section `data`.
            wanted: Number of validation images that measure a proxy; None for all.
            progress: Reports the progress.
        """
        ...

    def undecodable_training_images(
        self, data: Any, sample: int | None, ended: Callable[[], bool] = lambda: False
    ) -> DataReport:
        """Training images that cannot be decoded.

        Args:
            data: Section `data`.
            sample: Number of images to check; None for all.
            ended: Whether to stop checking.
        """
        ...

    def fingerprint(self, data: Any, progress: Counted) -> str:
        """Fingerprint of everything that a training reads of the data."""
        ...

    def shared_images(self, data: Any) -> list[str]:
        """Notices about images that are in both parts."""
        ...

    def plan(self, spec: SearchSpec, schedule: str) -> TrainingPlan:
        """The full training of a design of a search.

        Args:
            spec: The search.
            schedule: Name of the schedule.

        Raises:
            DataError: The data of the search is not on this machine.
        """
        ...

    def prove(self, export: Export, folder: Path, proof: "Proof") -> None:
        """Tests the files of the task's own format."""
        ...

    def from_proxy(self, architecture: Architecture, evaluation: Evaluation, checkpoint: Path) -> "StartingWeights":
        """The weights of a proxy.

        Raises:
            WeightsError: The file cannot be read, or belongs to another design.
        """
        ...

    def from_pretrained(self, architecture: Architecture, place: str, plan: TrainingPlan) -> "StartingWeights":
        """The weights of every branch from timm.

        Raises:
            WeightsError: The weights cannot be found.
        """
        ...

    def at_random(self, architecture: Architecture, start: Start, plan: TrainingPlan) -> "StartingWeights":
        """Random weights from a fixed seed."""
        ...

    def train(self, arguments: Sequence[str] | None) -> int:
        """Trains an exported design in this process; returns 2 for errors that a user can fix.

        Args:
            arguments: Command line of `piip_workers.train`; None for that of this process.
        """
        ...

    def write_examples(self, folder: Path) -> int:
        """Writes validation images with truths and answers of a trained proxy; returns their number.

        Raises:
            DataError: The folder has nothing to load, or no image is suitable.
        """
        ...
