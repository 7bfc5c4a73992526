"""Where candidates are measured, and what measures them."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.api.extras import TRAINER, extra
from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import trials_folder
from piip_search.search.feasible import feasible_designs

if TYPE_CHECKING:  # they bring the database and Ray with them, for which a message need not wait
    from piip_search.search.search import Search
    from piip_workers.runners.ray_driver import TrialResources


class Place(StrEnum):
    """Where candidates are measured."""

    RAY = "ray"
    LOCAL = "local"


@dataclass(frozen=True)
class ReadySearch:
    """A search that is ready to be driven.

    Attributes:
        search: Proposes candidates, and keeps their evaluations.
        drive: Measures candidates until the search ends. It calls the function that it is given after every change.
        usage: Tells how much of the machines is in use.
        at_once: Trials that run at once.
        trials: The folder of all trainings.
    """

    search: "Search"
    drive: Callable[[Callable[[], None]], None]
    usage: Callable[[], str]
    at_once: int
    trials: Path


def measurement(spec: SearchSpec, home: Path, run_name: str, search: "Search") -> Any:
    """What measures a candidate of a search.

    Args:
        spec: Data and training.
        home: The home folder.
        run_name: Run whose folder keeps the checkpoints.
        search: What is driven.

    What was measured is also kept beside its checkpoints, in a folder of the search itself: a run of the same name that
    was begun anew in another ledger is not answered from it.
    """
    from piip_workers.jobs.job import Work
    from piip_workers.tasks.detection import data

    spec = spec.model_copy(update={"data": data.resolved(spec.data)})
    settings = spec.model_dump(mode="json", include={"data", "training"})
    settings["training"]["pretrained"] = absolute(spec.training.pretrained)
    if Path(spec.training.detector).is_file():
        settings["training"]["detector"] = str(Path(spec.training.detector).resolve())
    if spec.data.root is not None:
        settings["data"]["root"] = str(spec.data.root.resolve())  # workers run in folders of their own
    home = home.resolve()
    settings["directory"] = str(trials_folder(home, run_name, search.recipe))
    results = str(home / run_name / "results" / search.uid)
    return Work(
        "piip_workers.tasks.detection.evaluate:measure",
        settings,
        results,
        share="piip_workers.jobs.gpu_cap:cap_gpu_memory",
    )


def absolute(pretrained: str | None) -> str | None:
    """The place of pre-trained weights, for whoever works in another folder."""
    return pretrained if pretrained in (None, "hub") else str(Path(pretrained).resolve())


Drive = Callable[["Search", Any, Callable[[], None]], None]


def runner(
    on: Place, address: str | None, spec: SearchSpec, home: Path, told: Callable[[str], None] = lambda text: None
) -> tuple[Drive, Callable[[], str], int]:
    """How to drive a search with what measures, what tells the usage, and how many trials run at once.

    Args:
        on: Where candidates are measured.
        address: Address of a Ray cluster; None starts one here.
        spec: What a trial occupies.
        home: The home folder.
        told: Is told, once, when a machine's memory runs out.

    Raises:
        ClusterError: The cluster cannot be joined, or trials could not run on it.
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
    nodes = None if address is None else ray_cluster.Nodes(placement.least, home, TRAINER)
    if nodes is not None:
        nodes.check()

    def drive(search: "Search", measure: Any, changed: Callable[[], None]) -> None:
        ray_tune.run(search, measure, home / "ray", changed, placement, nodes, told)

    return drive, ray_cluster.usage, at_once


def placement_of(spec: SearchSpec) -> "TrialResources":
    """What a trial of a search occupies on a Ray cluster; needs the extra."""
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
