"""A search from Python: a space is loaded, a search runs or goes on."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.api.checks import checked_data, looked_through, watched_images
from piip_search.api.extras import extra, find_trainer
from piip_search.api.notices import Notify, ignore
from piip_search.api.runners import Place, measurement, runner
from piip_search.api.stores import keep_store, mlflow_uri, named_ledger, open_ledger, open_tracker
from piip_search.config import SearchSpec, load_spec, parse_spec
from piip_search.config.shipped import find_space
from piip_search.errors import UserError
from piip_search.evaluation.evaluation import Candidate, Evaluation

if TYPE_CHECKING:  # they bring the database with them, for which a message need not wait
    from piip_search.ledger import Ledger
    from piip_search.search.search import Search

OwnEvaluate = Callable[[Candidate], float | Mapping[str, float] | Evaluation]
"""An evaluator of the user's own: the metric, several metrics by name, or a whole evaluation."""


def load(source: str | os.PathLike[str] | Mapping[str, Any], **changes: Any) -> SearchSpec:
    """Loads a search space.

    Args:
        source: The name of a shipped space, the path of a YAML file, or its content.
        changes: Sections and fields that replace those of the source. The fields of a section are replaced one by
            one: `budget={"trials": 4}` leaves the other fields of `budget`.

    Raises:
        SpecError: The content breaks rules; the message lists all of them.
        UserError: There is no such file or name.
    """
    if isinstance(source, Mapping):
        return parse_spec(_changed(source, changes))
    path = find_space(os.fspath(source))
    spec = load_spec(path)
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
    """Runs a search to its end, or goes on with the one of that name.

    What the ledger holds is never measured again, so the same call continues a search that was interrupted.

    Args:
        spec: What is searched (`load`).
        evaluate: Measures a candidate, in this process. By default a proxy of each design is trained.
        name: Name of the run; that of the space by default.
        ledger: A file, or the URL of a database; `ledger.db` in the home by default.
        home: Folder of checkpoints, and of the ledger.
        on: `local` trains in this process, one design after another; `ray` trains on a Ray cluster.
        address: Address of a running Ray cluster; one is started by default.
        mlflow: Store that mirrors the search; none by default.
        recipe: Text that names what an evaluator of one's own measures. Results of another recipe are not reused. The
            evaluator's module and name by default.
        fresh: Whether designs are measured anew that other runs of the ledger measured.
        notify: Is called with each line of progress.

    Returns:
        The search, with its evaluations.

    Raises:
        SpecError: The space, its limit or its data cannot be used.
        LedgerError: The ledger cannot be opened, or a run of that name asked something else.
        UserError: Arguments do not fit together, or an extra is not installed.
    """
    folder = Path(home)
    opened = open_ledger(named_ledger(ledger, folder), notify)
    called = name or spec.name
    if evaluate is None:
        return _with_proxies(spec, called, opened, folder, Place(on), address, mlflow, fresh, notify)
    if on != "local" or address is not None or mlflow is not None:
        raise UserError("an evaluator of one's own runs in this process; leave on, address and mlflow out")
    return _with_own(spec, called, opened, evaluate, recipe, fresh, notify)


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
    from piip_search.search.search import open_search
    from piip_workers.runners import local

    text = recipe or f"{evaluate.__module__}.{getattr(evaluate, '__qualname__', type(evaluate).__qualname__)}"
    found = open_search(run, spec, ledger, text, fresh=fresh, circumstances=circumstances())

    def measure(candidate: Candidate) -> Evaluation:
        notify(f"measuring {candidate.architecture.name}")
        return measured(candidate, evaluate, spec.metric)

    local.run(found, measure)
    return found


def measured(candidate: Candidate, evaluate: OwnEvaluate, metric: str) -> Evaluation:
    """The evaluation of a candidate. An error of the evaluator is an evaluation that failed.

    Args:
        candidate: What is measured.
        evaluate: Measures it.
        metric: What a bare number is the value of.

    Raises:
        MachineError: The machine is at fault, as where its disk is full: the search halts.
    """
    from piip_workers.jobs.job import with_failures

    def measure() -> Evaluation:
        begun = time.monotonic()
        answer = evaluate(candidate)
        if isinstance(answer, Evaluation):
            return answer
        metrics = dict(answer) if isinstance(answer, Mapping) else {metric: float(answer)}
        return Evaluation(candidate, "done", metrics, seconds=time.monotonic() - begun)

    return with_failures(candidate, measure)


def _with_proxies(
    spec: SearchSpec,
    run: str,
    ledger: "Ledger",
    home: Path,
    place: Place,
    address: str | None,
    mlflow: str | None,
    fresh: bool,
    notify: Notify,
) -> "Search":
    from piip_search.ledger.environment import circumstances
    from piip_search.search.search import open_search
    from piip_workers.tasks.detection import data

    store = mlflow_uri(mlflow or "none", home)
    checked_data(spec, spec.name, notify, notify)
    with extra("detection"):
        find_trainer(address)
        data.prepare(spec.data)
    fingerprint = looked_through(spec, notify, notify)
    drive, _, _ = runner(place, address, spec, home, notify)
    tracker = open_tracker(store, home, True, notify)
    recipe = spec.recipe(fingerprint)
    found = open_search(run, spec, ledger, recipe, tracker, fresh, fingerprint, circumstances())
    if store is not None:
        keep_store(store, home, run)
    with watched_images(spec, notify):
        drive(found, measurement(spec, home, run, found), lambda: None)
    return found
