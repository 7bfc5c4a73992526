"""The places where candidates are measured, and the functions that measure them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.api.extras import extra, trainer_of
from piip_search.architecture.miniatures import MINIATURE
from piip_search.config import SearchSpec
from piip_search.errors import UserError
from piip_search.evaluation.evaluation import trials_folder
from piip_search.search.feasible import feasible_designs
from piip_workers.tasks import worker_of

if TYPE_CHECKING:  # these import the database and Ray, which a message need not wait for
    from piip_search.search.search import Search
    from piip_workers.runners.ray_driver import TrialResources


class Place(StrEnum):
    """The place where candidates are measured."""

    RAY = "ray"
    LOCAL = "local"


@dataclass(frozen=True)
class ReadySearch:
    """A search that is ready to run.

    Attributes:
        search: Proposes candidates, and records their evaluations.
        drive: Measures candidates until the search ends, and calls the given function after every change.
        usage: Describes the machines' usage.
        at_once: Number of trials that run at once.
        trials: Folder of all trainings.
    """

    search: "Search"
    drive: Callable[[Callable[[], None]], None]
    usage: Callable[[], str]
    at_once: int
    trials: Path


def measurement(
    spec: SearchSpec, home: Path, run_name: str, search: "Search", files: Mapping[str, str] | None = None
) -> Any:
    """The function that measures a search's candidates.

    Args:
        spec: Data and training.
        home: Home folder.
        run_name: Run whose folder has the checkpoints.
        search: Search.
        files: Users' own files that stock networks are read from, by their configurations.

    Evaluations are also kept beside the checkpoints, in a folder of the search itself: another run of the same name in
    another ledger does not use them.
    """
    from piip_workers.jobs.job import Work

    worker = worker_of(spec.task)
    spec = spec.model_copy(update={"data": worker.resolved(spec.data)})
    settings = spec.model_dump(mode="json", include={"data", "training"})
    for section, paths in (("data", spec.data.named_paths), ("training", spec.training.named_paths)):
        # Workers have other current folders.
        settings[section] |= {field: str(path.resolve()) for field, path in paths.items()}
    home = home.resolve()
    if files:
        settings["files"] = files
    settings["directory"] = str(trials_folder(home, run_name, search.recipe))
    results = str(home / run_name / "results" / search.uid)
    return Work(
        worker.measure,
        settings,
        results,
        share="piip_workers.jobs.gpu_cap:cap_gpu_memory",
        recipe=search.recipe,
    )


def absolute(pretrained: str | None) -> str | None:
    """The absolute path of pre-trained weights, for processes in other folders."""
    return pretrained if pretrained in (None, "hub", MINIATURE) else str(Path(pretrained).resolve())


Drive = Callable[["Search", Any, Callable[[], None]], None]


def place_named(name: str) -> Place:
    """The place of that name.

    Raises:
        UserError: There is none of that name.
    """
    if name not in set(Place):
        raise UserError(f"no place {name!r} to measure candidates; give {' or '.join(Place)}")
    return Place(name)


def check_place(on: Place, address: str | None) -> None:
    """Checks that a place and an address fit together.

    Raises:
        UserError: An address is given, and candidates are measured in this process.
    """
    if on is Place.LOCAL and address is not None:
        raise UserError(f"address {address} names a Ray cluster, and {on} is this process; leave one of the two out")


def runner(
    on: Place, address: str | None, spec: SearchSpec, home: Path, notify: Callable[[str], None] = lambda text: None
) -> tuple[Drive, Callable[[], str], int]:
    """The functions that run a search and describe the usage, and the number of trials that run at once.

    Args:
        on: Place where candidates are measured.
        address: Address of a Ray cluster; None starts one here.
        spec: Spec with the resources of a trial.
        home: Home folder.
        notify: Called once, when a machine's memory runs out.

    Raises:
        ClusterError: The cluster cannot be joined, or cannot run trials.
    """
    if on is Place.LOCAL:
        from piip_workers.runners import local

        return local.run, (lambda: ""), 1
    with extra("ray"):
        from piip_workers.runners import ray_cluster, ray_tune
    with extra("cluster"):
        ray_cluster.connect(address)
    placement = placement_of(spec)
    at_once = placement.concurrency()
    nodes = None if address is None else ray_cluster.Nodes(placement.least, home, trainer_of(spec.known_task))
    if nodes is not None:
        nodes.check()

    def drive(search: "Search", measure: Any, on_change: Callable[[], None]) -> None:
        ray_tune.run(search, measure, home / "ray", on_change, placement, nodes, notify)

    return drive, ray_cluster.usage, at_once


def placement_of(spec: SearchSpec) -> "TrialResources":
    """The resources of a trial on a Ray cluster; needs the extra."""
    from piip_workers.runners.ray_driver import TrialResources

    resources = spec.resources
    return TrialResources(
        resources.cpu,
        spec.gpu_of,
        _least_gpu(spec),
        resources.custom,
        resources.at_once,
        resources.retries,
        resources.reuse_actors,
    )


def _least_gpu(spec: SearchSpec) -> float:
    """GPUs of the smallest trial."""
    if spec.resources.gpu != "auto":
        return spec.resources.gpu
    space, designs = feasible_designs(spec)
    assert designs.training_N is not None, "a share needs the memory"
    return spec.gpu_of(space.decode(designs.rows_ND[designs.training_N.argmin()]))
