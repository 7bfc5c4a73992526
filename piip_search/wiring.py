"""Wires what a command needs: ledger, data, runner and tracker, from what the user said.

The composition root below the command line: the only module beside it that knows the workers.
"""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.backbones import backbone_named, has_weights, weight_file, weights_hint
from piip_search.evaluation import Candidate, Evaluation, trials_folder
from piip_search.export.readers import READERS
from piip_search.legal import legal_designs
from piip_search.objectives import Objectives, ParetoFront, RunningFronts, finished, pareto_front
from piip_search.spec import SearchSpec, SpecError, load_spec, parse_spec
from piip_search.tracker import Tracker

if TYPE_CHECKING:  # they bring the database with them, for which a message need not wait
    from piip_dashboards.report import Source
    from piip_search.export import Provenance
    from piip_search.health import Health
    from piip_search.ledger import Ledger
    from piip_search.search import Search
    from piip_workers.ray_jobs import Jobs, Sent
    from piip_workers.ray_tune import Placement
    from piip_workers.tracking import MlflowTracker


STORE = "mlflow.txt"
"""File in a run's folder that names the MLflow store that it is mirrored into."""

TRAINER = ("torch", "timm", "mmengine", "mmcv", "mmdet")
"""What a training imports."""


class Place(StrEnum):
    """Where candidates are measured."""

    RAY = "ray"
    LOCAL = "local"


class UserError(Exception):
    """Something the user can mend; shown as it is, without a traceback."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Turns the import error of an extra into the line that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f'{error.name} is not installed; this needs an extra: pip install "piip-search[{name}]"'
        ) from None


def find_trainer(address: str | None) -> None:
    """Looks for what a training needs without loading it; on a cluster the workers have it."""
    for name in TRAINER if address is None else ():
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name=name)


@dataclass(frozen=True)
class History:
    """A run as the ledger holds it."""

    spec: SearchSpec
    objectives: Objectives
    evaluations: list[Evaluation]

    @property
    def left(self) -> dict[float, float]:
        """What the sampler last expected to be left to gain, by tier; empty where it never said."""
        newest = sorted((evaluation.candidate for evaluation in self.evaluations), key=lambda one: -one.number)
        return next((candidate.left for candidate in newest if candidate.left), {})

    @property
    def finished(self) -> list[Evaluation]:
        """Without the lower rungs of the schedule."""
        return finished(self.evaluations, self.spec.rungs[-1])

    @property
    def fronts(self) -> list[ParetoFront]:
        return [pareto_front(self.finished, self.objectives, tier) for tier in self.spec.bounds.gmacs]

    def replay(self) -> Iterator[tuple[Evaluation, Sequence[ParetoFront]]]:
        """Each evaluation with the front of each tier after it."""
        running = RunningFronts(self.objectives, self.spec.bounds.gmacs)
        for evaluation in self.evaluations:
            if evaluation.candidate.fidelity == self.spec.rungs[-1]:
                running.add(evaluation)
            yield evaluation, running.fronts


def health_of(
    spec: SearchSpec,
    objectives: Objectives,
    evaluations: list[Evaluation],
    running: Mapping[Candidate, float] | None = None,
) -> "Health":
    """What the checks say of a search."""
    from piip_search.health import examine
    from piip_search.space import Designs, Features

    space = spec.space.build()

    def features(architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        costs = [objectives.price(architecture) for architecture in architectures]
        rows = np.stack([space.encode(architecture) for architecture in architectures])
        designs = Designs(rows, np.array([cost.macs for cost in costs]), np.array([cost.params for cost in costs]))
        return Features(space, designs).of(np.arange(len(designs)))

    return examine(evaluations, objectives, spec.bounds.gmacs, spec.rungs, spec.budget.trials, features, running)


def history_of(book: "Ledger", run: str) -> History:
    spec = parse_spec(dict(book.search(run).spec), f"run {run}")
    return History(spec, Objectives(spec.metric, spec.limit.convention, spec.detector), book.evaluations(run))


def checked_spec(path: Path, trials: int | None) -> SearchSpec:
    """The spec, once nothing is wrong with it, its limit or its data; all problems are reported at once."""
    from piip_workers import data

    spec = load_spec(path)
    problems: list[str] = []
    try:
        legal_designs(spec, path)
    except SpecError as error:
        problems += error.problems
    unsound = data.check(spec.data)
    problems += [*unsound, *_missing_weights(spec), *_detector_problems(spec, sound=not unsound)]
    if problems:
        raise SpecError(path, problems)
    return with_trials(spec, trials)


def _detector_problems(spec: SearchSpec, sound: bool) -> list[str]:
    """What is wrong with the detector, or with sound data for it; one that only mmdet knows is read, in seconds."""
    from piip_workers import data

    name = spec.training.detector
    reader = READERS.get(name)
    if reader is None:
        with extra("detection"):
            from piip_workers.detectors import reader_of
        try:
            reader = reader_of(spec.training)
        except ValueError as error:
            return [str(error)]
    if spec.metric.startswith("segm") and not reader.masks:
        return [f"metric: {spec.metric} needs a detector with masks, and {reader.base} has none; choose a bbox_mAP"]
    return data.unsuited(spec.data, spec.metric, name, reader.masks) if sound else []


def check_images(spec: SearchSpec, fingerprint: str, told: Callable[[str], None]) -> None:
    """Decodes the validation images, once for a data set.

    Args:
        spec: Which data, and how many of its images are measured on.
        fingerprint: Of the data.
        told: Is told how far it is.

    Raises:
        UserError: Some cannot be decoded.
    """
    from piip_workers import data

    problems = data.undecodable_images(
        spec.data, fingerprint, spec.training.val_images,
        lambda done, total: told(f"looking at validation image {done:,} of {total:,}"),
    )  # fmt: skip
    if problems:
        raise UserError("\n  ".join(["no candidate could be measured with these validation images:", *problems]))


def _missing_weights(spec: SearchSpec) -> list[str]:
    """Backbones of the space whose pre-trained weights are not there; a hub is asked only when they are needed."""
    place = spec.training.pretrained
    problems = []
    for name in spec.space.backbones if place is not None else ():
        backbone = backbone_named(name)
        if not has_weights(backbone):
            problems.append(f"training.pretrained: {name} has no pre-trained weights; leave it out of space.backbones")
        elif place == "hub" and not backbone.timm_name:
            hint = weights_hint(backbone, Path("weights"))
            problems.append(f"training.pretrained: {name} is on no hub of timm's; {hint}, and name that folder")
        elif place != "hub" and weight_file(backbone, Path(str(place))) is None:
            problems.append(
                f"training.pretrained: no weights of {name} in {place}; {weights_hint(backbone, Path(str(place)))}"
            )
    return problems


def with_trials(spec: SearchSpec, trials: int | None) -> SearchSpec:
    """The spec with that many trials, if any are given."""
    if trials is None:
        return spec
    return spec.model_copy(update={"budget": spec.budget.model_copy(update={"trials": trials})})


def image_counts(spec: SearchSpec) -> tuple[int, int] | None:
    """Training and validation images of the data; None where it is not here."""
    from piip_workers import data

    return data.image_counts(spec.data)


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
    from piip_workers.work import Work

    settings = spec.model_dump(mode="json", include={"data", "training"})
    settings["training"]["pretrained"] = absolute(spec.training.pretrained)
    if Path(spec.training.detector).is_file():
        settings["training"]["detector"] = str(Path(spec.training.detector).resolve())
    if spec.data.root is not None:
        settings["data"]["root"] = str(spec.data.root.resolve())  # workers run in folders of their own
    home = home.resolve()
    settings["directory"] = str(trials_folder(home, run_name, search.recipe))
    results = str(home / run_name / "results" / search.uid)
    return Work("piip_workers.evaluate:measure", settings, results, share="piip_workers.share:keep_to")


def absolute(pretrained: str | None) -> str | None:
    """The place of pre-trained weights, for whoever works in another folder."""
    return pretrained if pretrained in (None, "hub") else str(Path(pretrained).resolve())


Drive = Callable[["Search", Any, Callable[[], None]], None]


def runner(on: Place, address: str | None, spec: SearchSpec, home: Path) -> tuple[Drive, Callable[[], str], int]:
    """How to drive a search with what measures, what tells the usage, and how many trials run at once.

    Raises:
        ClusterError: The cluster cannot be joined, or trials could not run on it.
    """
    if on is Place.LOCAL:
        from piip_workers import local

        return local.run, (lambda: ""), 1
    with extra("ray"):
        from piip_workers import ray_cluster, ray_tune
    with extra("cluster"):
        ray_cluster.connect(address)
    placement = placement_of(spec)
    at_once = placement.concurrency()
    nodes = None if address is None else ray_cluster.Nodes(placement.least, home, TRAINER)
    if nodes is not None:
        nodes.check()

    def drive(search: "Search", measure: Any, changed: Callable[[], None]) -> None:
        ray_tune.run(search, measure, home / "ray", changed, placement, nodes)

    return drive, ray_cluster.usage, at_once


def placement_of(spec: SearchSpec) -> "Placement":
    """What a trial of a search occupies on a Ray cluster; needs the extra."""
    from piip_workers.ray_tune import Placement

    resources = spec.resources
    return Placement(
        resources.cpu, spec.gpu_of, _least_gpu(spec), resources.custom, resources.at_once, resources.retries,
        resources.reuse_actors,
    )  # fmt: skip


def jobs_at(address: str) -> "Jobs":
    """The jobs of the Ray cluster whose dashboard is at an address.

    Raises:
        ClusterError: It does not answer, or wants a token.
    """
    with extra("cluster"):
        import aiohttp  # noqa: F401 - without it Ray's own module can be imported, and nothing else

        from piip_workers.ray_jobs import Jobs
    return Jobs(address)


def sent_search(run: str, space: str, travels: bool, home: Path, options: Sequence[str]) -> "Sent":
    """A search as it is sent to a cluster; the arguments are the fields of `piip_workers.ray_jobs.Sent`."""
    from piip_workers.ray_jobs import Sent

    return Sent(run, space, travels, home, tuple(options))


def _least_gpu(spec: SearchSpec) -> float:
    """GPUs of the smallest trial."""
    if spec.resources.gpu != "auto":
        return spec.resources.gpu
    space, designs = legal_designs(spec)
    assert designs.training_N is not None, "a share needs the memory"
    return spec.gpu_of(space.decode(designs.rows_ND[designs.training_N.argmin()]))


def open_ledger(url: str, told: Callable[[str], None] = lambda text: None) -> "Ledger":
    """The ledger at a database URL, brought up to date.

    Args:
        url: The database's.
        told: Is told when the database is away later, and when it is back.

    Raises:
        LedgerError: It cannot be opened.
    """
    from piip_search.ledger import Ledger

    return Ledger(url, told)


def ledger_url(given: str | None, home: Path) -> str:
    return given or f"sqlite:///{home / 'ledger.db'}"


def existing_ledger(given: str | None, home: Path) -> str:
    """The ledger to read; reading makes no new one."""
    path = home / "ledger.db"
    if given is None and not path.exists():
        raise UserError(f"no ledger at {path}; run a search first, or say where it is with --home or --ledger")
    return ledger_url(given, home)


def mlflow_uri(given: str | None, home: Path) -> str | None:
    if given == "none":
        return None
    return given or f"sqlite:///{(home / 'mlflow.db').resolve()}"


def keep_store(uri: str, home: Path, run: str) -> None:
    """Notes beside a run's checkpoints where it is mirrored, without secrets: a training of an export looks there."""
    file = home / run / STORE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(shown_store(uri) + "\n", encoding="utf-8")


def kept_store(home: Path, run: str) -> str | None:
    """The MLflow store that a run was last mirrored into; None where it was not, as far as is known here."""
    file = home / run / STORE
    if file.is_file():
        return file.read_text(encoding="utf-8").strip()
    return mlflow_uri(None, home) if (home / "mlflow.db").exists() else None


def shown_store(uri: str) -> str:
    """An MLflow store's address without user, password and query; a path in it is absolute."""
    parts = urlsplit(uri)
    if parts.scheme == "sqlite":
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).resolve()}"
    if not parts.netloc:
        return uri
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def open_tracker(uri: str | None, home: Path, asked: bool, note: Callable[[str], None]) -> Tracker | None:
    """MLflow's tracker, in the background; without the extra a note, unless the user asked for a store."""
    if uri is None:
        return None
    try:
        find_mlflow()
    except UserError as error:
        if asked:
            raise
        note(f"note: not mirrored into MLflow: {error}")
        return None
    from piip_workers.background import InBackground

    return InBackground(lambda: mirror(uri, home), note)


def find_mlflow() -> None:
    """Looks for MLflow without loading it, which takes seconds.

    Raises:
        UserError: It is not installed; the message has the line that installs it.
    """
    with extra("mlflow"):
        for name in ("mlflow", "matplotlib", "plotly"):
            if importlib.util.find_spec(name) is None:
                raise ModuleNotFoundError(name=name)


def mirror(uri: str, home: Path) -> "MlflowTracker":
    """MLflow's tracker itself; needs the extra."""
    from piip_workers.tracking import MlflowTracker

    return MlflowTracker(uri, (home / "mlartifacts").resolve().as_uri() if uri.startswith("sqlite:") else None)


def register_model(uri: str, provenance: "Provenance", folder: Path, channels: tuple[int, ...]) -> str:
    """Puts an exported network into MLflow's registry; the arguments are those of `piip_workers.tracking.register`."""
    find_mlflow()
    from piip_workers.tracking import register

    return register(uri, provenance, folder, channels)


@contextmanager
def mirror_of(uri: str, home: Path, run: str, history: History) -> Iterator["MlflowTracker"]:
    """The same for a run that the ledger holds, begun.

    Raises:
        ConnectionError: MLflow cannot be reached.
    """
    from piip_workers.tracking import reachable

    with reachable(uri):
        tracker = mirror(uri, home)
        tracker.begin(run, history.spec.model_dump(mode="json"), history.objectives)
        yield tracker


def report_source(book: "Ledger", run: str) -> "Source":
    """What a report of a run is made from."""
    from piip_dashboards.report import Source
    from piip_search.audit import MARK

    history = history_of(book, run)
    unfinished = book.unfinished(run)
    audits = {
        record.name: (book.evaluations(record.name), tuple(book.unfinished(record.name)))
        for record in book.searches()
        if record.name.startswith(f"{run}{MARK}")
    }
    searched = MARK not in run  # an audit's designs were not searched for
    health = health_of(history.spec, history.objectives, history.evaluations, unfinished) if searched else None
    return Source(
        record=book.search(run),
        spec=history.spec,
        evaluations=history.evaluations,
        unfinished=tuple(unfinished),
        sittings=book.sittings(run),
        audits=audits,
        health=health,
        ledger=book.shown,
    )
