"""The interface of a task: what designs are trained for, and what a search and an export have to know about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from piip_search.architecture.segments import Merge
from piip_search.cost import Convention
from piip_search.cost import Head as Head
from piip_search.sections import DataSection, TrainingSection


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a trained design is measured by.

    Attributes:
        name: Name in a search space and in results.
        title: Name for a reader.
        about: What is averaged over what, in one line.
        direction: Whether higher or lower numbers are better.
        least: Least value; that of an untrained model where higher is better.
        greatest: Greatest value; that of an untrained model where lower is better.
        column: Column of the papers' tables; None without one.
    """

    name: str
    title: str
    about: str
    direction: Literal["higher", "lower"] = "higher"
    least: float = 0.0
    greatest: float = 1.0
    column: str | None = None


class Task(Protocol):
    """A task. Its worker is in `piip_workers.tasks`, its drawing of examples in `piip_dashboards.tasks`."""

    @property
    def name(self) -> str:
        """Name in a search space."""
        ...

    @property
    def extra(self) -> str:
        """Extra of the package that installs what a training imports."""
        ...

    @property
    def packages(self) -> Mapping[str, str]:
        """Distributions that a training needs besides torch and timm, by the modules that it imports."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics of its trainings, the default one first."""
        ...

    @property
    def merges(self) -> tuple[Merge, ...]:
        """Merges whose outputs it reads, the usual one first."""
        ...

    @property
    def published(self) -> str | None:
        """Task of the papers' rows for it; None without any."""
        ...

    @property
    def stock(self) -> Mapping[str, str]:
        """Stock networks that a search can be compared with: configurations by short name; empty for none."""
        ...

    def stock_config(self, name: str) -> str | None:
        """The configuration of a stock network by its short name or its own, `OWN_FILE` for a file; None if unknown."""
        ...

    @property
    def shares(self) -> bool:
        """Whether one training can give weights to many designs (evaluator `shared`)."""
        ...

    @property
    def data(self) -> type[DataSection]:
        """Section `data`."""
        ...

    @property
    def training(self) -> type[TrainingSection]:
        """Section `training`."""
        ...

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """Places of fields of the two sections that are or may be paths."""
        ...

    @property
    def heads(self) -> Mapping[str, Head]:
        """Heads of known cost by name, that of the papers first; empty if no cost of a head is known."""
        ...

    @property
    def formats(self) -> tuple[str, ...]:
        """Formats of an export, that of its own full training first."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """Files that its own format writes, first the one that a full training reads."""
        ...

    @property
    def schedules(self) -> tuple[str, ...]:
        """Names of the schedules of a full training, the usual one first."""
        ...

    @property
    def images_a_step(self) -> int | None:
        """Images a step of a full training, over all GPUs; None where the training shares its images itself."""
        ...

    @property
    def batch_setting(self) -> str:
        """Setting of a full training for each process's images a step."""
        ...

    def model(self, training: Any) -> str:
        """The trained network around the backbone, in a word.

        Args:
            training: Section `training` of this task.
        """
        ...

    def head(self, training: Any) -> Head | None:
        """The head that a proxy trains; None if its cost is unknown."""
        ...

    def problems(self, metrics: Sequence[str], convention: Convention, training: Any) -> Iterator[str]:
        """Problems between metrics, the limit's convention and the training, one line each, with a way out.

        Args:
            metrics: Names of the searched metrics.
            convention: Convention of the limit.
            training: Section `training` of this task.
        """
        ...
