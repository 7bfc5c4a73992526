"""Loads a search space, and runs or resumes a search, from Python."""

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from piip_search.analysis.baselines import Baseline
from piip_search.api.baselines import counted_baselines, open_baselines
from piip_search.api.checks import checked_data, looked_through, watched_images
from piip_search.api.evaluators import evaluator_of, own_preparation, prepare, prepared_first
from piip_search.api.extras import extra, find_trainer
from piip_search.api.mirror import mirror_baselines
from piip_search.api.notices import Notify, ignore
from piip_search.api.programs import keep_programs
from piip_search.api.runners import Place, ReadySearch, check_place, measurement, place_named, runner
from piip_search.api.runs import baselines_of_run
from piip_search.api.stores import keep_store, mlflow_uri, named_ledger, open_ledger, open_tracker
from piip_search.architecture.stock import StockNetwork
from piip_search.config import RUN_NAME, SearchSpec, load_spec, parse_spec
from piip_search.config.shipped import find_space
from piip_search.errors import UserError
from piip_search.evaluation.evaluation import Candidate, Evaluation, trials_folder
from piip_workers.evaluators.evaluator import PreparingEvaluator
from piip_workers.tasks import worker_of

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from sqlalchemy.engine import URL

    from piip_search.ledger import Ledger
    from piip_search.search.search import Search

OwnAnswer = float | Mapping[str, float] | Evaluation
"""The answer of a custom evaluator: the metric, several metrics by name, or a whole evaluation."""
OwnEvaluate = Callable[[Candidate], OwnAnswer] | PreparingEvaluator
"""A custom evaluator: a function of a candidate, or an object that prepares something first."""


@dataclass(frozen=True)
class SearchOptions:
    """The settings of a search with proxies.

    Attributes:
        name: Name of the run; that of the space by default.
        on: Place where candidates are measured.
        address: Address of a Ray cluster; None starts one here.
        store: MLflow store that mirrors the search; None for none.
        store_needed: Whether a missing MLflow is an error.
        fresh: Whether to ignore measurements of other runs in the ledger.
        resume: Whether a run of that name must exist.
        take_over: Whether to go on with another owner's run, and to take it from a process that drives it.
    """

    name: str | None = None
    on: Place = Place.RAY
    address: str | None = None
    store: str | None = None
    store_needed: bool = False
    fresh: bool = False
    resume: bool = False
    take_over: bool = False


@dataclass(frozen=True)
class SearchRun(ReadySearch):
    """A search with proxies that is ready to run.

    Attributes:
        ledger: Ledger of the run.
        store: MLflow store that mirrors the search; None for none.
        baselines: Opens the baselines, which are trained after the search; None without any.
    """

    ledger: "Ledger"
    store: str | None
    baselines: Callable[[], ReadySearch] | None = None

    @property
    def found_baselines(self) -> tuple[Baseline, ...]:
        """The baselines of the search with their results, cheapest first."""
        return baselines_of_run(self.ledger, self.search.run, self.search.history)

    @property
    def may_compare(self) -> bool:
        """Whether the search has ended so that its baselines may be trained."""
        return self.baselines is not None and not self.search.halted and not self.search.measured_nothing


def load(source: str | os.PathLike[str] | Mapping[str, Any], *, notify: Notify = ignore, **changes: Any) -> SearchSpec:
    """Loads a search space.

    Args:
        source: The name of a shipped space, the path of a YAML file, or its content.
        notify: Called with a line about each former word in a file.
        changes: Sections and fields that replace those of the source. The fields of a section are replaced one by
            one: `budget={"trials": 4}` leaves the other fields of `budget`.

    Raises:
        SpecError: The content breaks rules; the message lists all problems.
        UserError: The file or name does not exist.
    """
    if isinstance(source, Mapping):
        return parse_spec(_changed(source, changes))
    path = find_space(os.fspath(source))
    spec = load_spec(path, notify)
    return parse_spec(_changed(spec.model_dump(mode="json", exclude_unset=True), changes), path) if changes else spec


def _changed(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        name: {**content[name], **value}
        for name, value in changes.items()
        if isinstance(value, Mapping) and isinstance(content.get(name), Mapping)
    }
    return {**content, **changes, **both}


def run(
    spec: SearchSpec,
    *,
    evaluate: OwnEvaluate | None = None,
    name: str | None = None,
    ledger: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] = "runs",
    on: str = "local",
    address: str | None = None,
    mlflow: str | None = None,
    recipe: str | None = None,
    fresh: bool = False,
    notify: Notify = ignore,
) -> "Search":
    """Runs a search to its end, or resumes the run of that name.

    The ledger's evaluations are never repeated, so the same call resumes an interrupted search.

    Args:
        spec: Search (`load`).
        evaluate: Measures a candidate in this process: a function, or an object that prepares something first
            (`piip_workers.evaluators.evaluator.PreparingEvaluator`). By default the evaluator of the space.
        name: Name of the run; that of the space by default.
        ledger: A file, or the URL of a database; `ledger.db` in the home by default.
        home: Folder of checkpoints and, by default, of the ledger.
        on: `local` trains in this process, one design at a time; `ray` trains on a Ray cluster.
        address: Address of a running Ray cluster; by default a new one is started.
        mlflow: Store that mirrors the search; none by default.
        recipe: Text that identifies a custom evaluator; results of another recipe are not reused. By default the
            evaluator's module and name. The fingerprint of an object always counts too.
        fresh: Whether to ignore measurements of other runs in the ledger.
        notify: Called with each line of progress.

    Returns:
        The search, with its evaluations.

    Raises:
        SpecError: The space, its limit or its data cannot be used.
        LedgerError: The ledger cannot be opened, or a run of that name has another question.
        PreparationError: The evaluator cannot be prepared.
        UserError: Arguments do not fit together, no folder can have the name, or an extra is not installed.
    """
    folder = Path(home)
    url = named_ledger(ledger, folder)
    if evaluate is None:
        options = SearchOptions(name, place_named(on), address, mlflow_uri(mlflow or "none", folder), True, fresh)
        opened = open_search_run(spec, url, folder, options, None, notify, notify, notify)
        opened.drive(lambda: None)
        if opened.baselines is not None and opened.may_compare:
            opened.baselines().drive(lambda: None)
        return opened.search
    if on != "local" or address is not None or mlflow is not None:
        raise UserError("a custom evaluator runs in this process; leave on, address and mlflow out")
    return _with_own(spec, run_name(name, spec), open_ledger(url, notify), evaluate, recipe, fresh, notify)


def _with_own(
    spec: SearchSpec,
    run: str,
    ledger: "Ledger",
    evaluate: OwnEvaluate,
    recipe: str | None,
    fresh: bool,
    notify: Notify,
) -> "Search":
    from piip_search.ledger.environment import circumstances
    from piip_search.search.baselines import open_baselines as opened_baselines
    from piip_search.search.search import open_search
    from piip_workers.runners import local

    designs = spec.baseline_designs
    if any(isinstance(design, StockNetwork) for design in designs):
        stock = next(design.name for design in designs if isinstance(design, StockNetwork))
        raise UserError(f"a custom evaluator measures designs, and the baseline {stock} is none; leave it out")
    found = open_search(run, spec, ledger, _own_recipe(evaluate, recipe), fresh=fresh, circumstances=circumstances())
    prepare(found, own_preparation(evaluate, found), notify)

    def measure(candidate: Candidate) -> Evaluation:
        notify(f"measuring {candidate.design.name}")
        return measured(candidate, evaluate, found.objectives.metric)

    local.run(found, measure)
    if designs and not found.halted and not found.measured_nothing:
        local.run(opened_baselines(found, designs, ledger, fresh, circumstances()), measure)
    return found


def _own_recipe(evaluate: OwnEvaluate, recipe: str | None) -> str:
    """The recipe of a custom evaluator; that of an object depends on its fingerprint."""
    text = recipe or f"{evaluate.__module__}.{getattr(evaluate, '__qualname__', type(evaluate).__qualname__)}"
    if isinstance(evaluate, PreparingEvaluator):
        return hashlib.sha256(f"{text} {evaluate.fingerprint}".encode()).hexdigest()[:16]
    return text


def measured(candidate: Candidate, evaluate: OwnEvaluate, metric: str) -> Evaluation:
    """The evaluation of a candidate; an error of the evaluator gives a failed one.

    Args:
        candidate: Candidate to measure.
        evaluate: Function or object that measures it.
        metric: Name of a bare number.

    Raises:
        NotPreparedError: The evaluator is not prepared.
        MachineError: The machine is at fault, for example its disk is full: the search halts.
    """
    from piip_workers.jobs.job import with_failures

    def measure() -> Evaluation:
        begun = time.monotonic()
        answer = _asked(evaluate, candidate)
        if isinstance(answer, Evaluation):
            return answer
        given = answer if isinstance(answer, Mapping) else {metric: answer}
        metrics = {name: _number(name, value) for name, value in given.items()}
        return Evaluation(candidate, "done", metrics, seconds=time.monotonic() - begun)

    return with_failures(candidate, measure)


LARGEST_METRIC = 1e15
"""Largest metric that the ledger keeps."""


def _number(name: str, value: object) -> float:
    """A metric as a number that the ledger keeps.

    Raises:
        TypeError: It is no number.
        ValueError: It is too large for a metric.
    """
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        raise TypeError(f"the metric {name} must be a number, got {value!r:.60}")
    found = float(value)
    if abs(found) > LARGEST_METRIC:
        raise ValueError(f"the metric {name} must be within ±{LARGEST_METRIC:g}, got {found:g}")
    return found


def _asked(evaluate: OwnEvaluate, candidate: Candidate) -> OwnAnswer:
    from piip_workers.evaluators.preparation import check_prepared

    if not isinstance(evaluate, PreparingEvaluator):
        return evaluate(candidate)
    check_prepared(evaluate)
    return evaluate.evaluate(candidate)


def open_search_run(
    spec: SearchSpec,
    ledger: "str | URL",
    home: Path,
    options: SearchOptions = SearchOptions(),
    source: Path | str | None = None,
    notify: Notify = ignore,
    warn: Notify = ignore,
    progress: Notify = ignore,
) -> SearchRun:
    """Opens a search that trains proxies, or resumes an interrupted one, without training.

    The ledger is opened after the checks of the data, so that a space that cannot be searched leaves no file behind.

    Args:
        spec: Search.
        ledger: URL of the ledger.
        home: Home folder.
        options: Settings of the search.
        source: Name of the space in messages; by default its own.
        notify: Called with notes about data, machines and MLflow.
        warn: Called when the ledger is away, and when it is back.
        progress: Called with the current step.

    Returns:
        The search, whose `drive` trains its proxies.

    Raises:
        SpecError: The space, its limit or its data cannot be used.
        LedgerError: The ledger cannot be opened, lacks the run to resume, or its run has another question.
        ClusterError: The cluster cannot be joined, or cannot run trials.
        UserError: No folder can have the name, the images cannot be used, or an extra is missing.
    """
    check_place(options.on, options.address)
    run = run_name(options.name, spec)
    checked_data(spec, source or spec.name, progress, notify)
    baselines = counted_baselines(spec, source or spec.name, progress)
    fingerprint = _fingerprint(spec, options.address, notify, progress)
    opened = open_ledger(ledger, warn)
    if options.resume:
        opened.search(run)
    progress("starting")
    place = drive, usage, at_once = runner(options.on, options.address, spec, home, notify)
    search = _recorded_search(spec, run, opened, home, options, fingerprint, notify)
    alone = measurement(spec, home, run, search)
    measure, preparation = evaluator_of(spec, alone, search, fingerprint, home, options.on)
    drive = prepared_first(drive, preparation, notify)

    def drive_to_end(changed: Callable[[], None]) -> None:
        with watched_images(spec, notify):
            drive(search, measure, changed)

    def beside() -> ReadySearch:
        fresh, take_over = options.fresh, options.take_over
        ready = open_baselines(
            search, baselines, opened, home, place, options.on, fingerprint, fresh, take_over, notify
        )

        def drive_and_mirror(changed: Callable[[], None]) -> None:
            ready.drive(changed)
            if options.store is not None:
                mirror_baselines(opened, run, home, options.store, notify)

        return replace(ready, drive=drive_and_mirror)

    trials = trials_folder(home, run, search.recipe)
    compared = beside if baselines.designs else None
    return SearchRun(search, drive_to_end, usage, at_once, trials, opened, options.store, compared)


def run_name(name: str | None, spec: SearchSpec) -> str:
    """The name of a run.

    Args:
        name: Name from a user; None for the name of the space.
        spec: Search.

    Raises:
        UserError: No folder can have that name.
    """
    chosen = name or spec.name
    if not re.fullmatch(RUN_NAME, chosen):
        raise UserError(f"a run's name must be up to 100 letters, digits, dots, dashes or underscores, got {chosen!r}")
    return chosen


def _fingerprint(spec: SearchSpec, address: str | None, notify: Notify, progress: Notify) -> str:
    """The fingerprint of the data, after checks of the images and of this machine."""
    with extra(spec.known_task.extra):
        find_trainer(spec.known_task, address)
        worker_of(spec.task).prepare(spec.data)
    progress("checking the images")
    return looked_through(spec, progress, notify)


def _recorded_search(
    spec: SearchSpec,
    run: str,
    ledger: "Ledger",
    home: Path,
    options: SearchOptions,
    fingerprint: str,
    notify: Notify,
) -> "Search":
    """The search in the ledger, with its mirror."""
    from piip_search.ledger.environment import circumstances
    from piip_search.search.search import open_search

    tracker = open_tracker(options.store, home, options.store_needed, notify)
    search = open_search(
        run,
        spec,
        ledger,
        spec.recipe(fingerprint),
        tracker,
        options.fresh,
        fingerprint,
        circumstances(),
        options.take_over,
    )
    keep_programs(ledger, run, spec)
    if tracker is not None and options.store is not None:
        keep_store(options.store, home, run)
    return search
