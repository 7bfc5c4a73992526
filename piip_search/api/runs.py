"""A run in the ledger, with its results."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.objectives import Objectives
from piip_search.search.history import RunHistory

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from piip_dashboards.report import Source
    from piip_search.analysis.health import Health
    from piip_search.ledger import Ledger


def history_of(book: "Ledger", run: str) -> RunHistory:
    """The history of a run.

    Raises:
        LedgerError: The ledger has no such run.
        SpecError: The run's space cannot be read by this version.
    """
    spec = parse_spec(dict(book.search(run).spec), f"run {run}", recorded=True)
    history = RunHistory(spec, book.events(run))
    history.charge(sum(step.gpu_seconds for step in book.preparations(run)))
    return history


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


def report_source(book: "Ledger", run: str) -> "Source":
    """The input of a run's report."""
    from piip_dashboards.report import Source

    history, record = history_of(book, run), book.search(run)
    audits = {
        other.name: RunHistory(history.spec, book.events(other.name))
        for other in book.searches()
        if other.audit_of == record.uid
    }
    health = None
    if not record.is_audit:  # an audit is no search
        health = health_of(history.spec, history.objectives, history.evaluations, book.unfinished(run))
    return Source(record, history, book.sittings(run), audits, health, book.shown)
