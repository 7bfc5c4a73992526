"""A run in the ledger, with its results."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from piip_search.analysis.baselines import Baseline, baselines_of
from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, parse_spec
from piip_search.errors import UserError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.objectives import Objectives
from piip_search.search.baselines import baseline_objectives
from piip_search.search.history import RunHistory

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_dashboards.report import Source
    from piip_search.analysis.health import Health
    from piip_search.ledger import Ledger, PreparationSummary


def history_of(book: "Ledger", run: str) -> RunHistory:
    """The history of a run.

    Raises:
        LedgerError: The ledger has no such run.
        SpecError: The run's space cannot be read by this version.
    """
    record = book.search(run)
    spec = parse_spec(dict(record.spec), f"run {run}", recorded=True)
    rows = book.rows(run)
    objectives = baseline_objectives(spec.objectives) if record.holds_baselines else spec.objectives
    history = RunHistory(spec, (event.item for event in rows.events), objectives, rows.unreadable)
    history.charge(sum(step.gpu_seconds for step in rows.preparations))
    return history


def baselines_of_run(book: "Ledger", run: str, history: RunHistory) -> tuple[Baseline, ...]:
    """The baselines of a run with their results, cheapest first; empty for a run without any.

    Args:
        book: Ledger of the run.
        run: Name of the run.
        history: History of the run.
    """
    newest = newest_baselines(book, run)
    return () if newest is None else baselines_of(newest, history.objectives)


def newest_baselines(book: "Ledger", run: str) -> RunHistory | None:
    """The history of the newest list of baselines of a run; None without any."""
    uid, searches = book.search(run).uid, book.searches()
    lists = [other.name for other in searches if other.holds_baselines and other.audit_of == uid]
    return history_of(book, lists[-1]) if lists else None


def measured_baselines(book: "Ledger", run: str) -> list[Evaluation]:
    """One evaluation for each measured baseline of a run: the mean of its seeds."""
    newest = newest_baselines(book, run)
    return [] if newest is None else newest.representatives


def health_of(
    spec: SearchSpec,
    objectives: Objectives,
    evaluations: list[Evaluation],
    running: Mapping[Candidate, float] | None = None,
) -> "Health":
    """The results of a search's health checks."""
    from piip_search.analysis.health import examine
    from piip_search.space import Designs, Features

    space = spec.search_space

    def features(architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        rows = np.stack([space.encode(architecture) for architecture in architectures])
        designs = Designs.of(rows, architectures, spec.pricing, spec.searched_costs)
        return Features(space, designs).of(np.arange(len(designs)))

    return examine(evaluations, objectives, spec.bounds.tiers, spec.rungs, spec.budget.trials, features, running)


def preparation_of(book: "Ledger", run: str) -> "PreparationSummary | None":
    """The preparation of a run's evaluator; None for an evaluator that prepares nothing."""
    from piip_search.ledger import PreparationSummary

    return PreparationSummary.of(book.preparations(run), book.driven(run))


def report_source(book: "Ledger", run: str) -> "Source":
    """The input of a run's report.

    Raises:
        LedgerError: The ledger has no such run.
        UserError: The run is a list of baselines, which the report of its search has.
    """
    from piip_dashboards.report import Source

    record = book.search(run)
    if record.holds_baselines:
        raise UserError(f"run {run} holds the baselines of a search, whose report shows them; name that search")
    history = history_of(book, run)
    audits = {
        other.name: RunHistory(history.spec, book.events(other.name))
        for other in book.searches()
        if other.is_audit and other.audit_of == record.uid
    }
    health = None
    if record.is_search:  # a list has no sampler that could be wrong
        health = health_of(history.spec, history.objectives, history.evaluations, book.unfinished(run))
    baselines = baselines_of_run(book, run, history)
    return Source(record, history, book.sittings(run), audits, health, book.shown, preparation_of(book, run), baselines)
