"""A run as the ledger holds it, and what can be said of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront, RunningFronts, finished, pareto_front

if TYPE_CHECKING:  # they bring the database with them, for which a message need not wait
    from piip_dashboards.report import Source
    from piip_search.analysis.health import Health
    from piip_search.ledger import Ledger


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


def history_of(book: "Ledger", run: str) -> History:
    spec = parse_spec(dict(book.search(run).spec), f"run {run}", recorded=True)
    return History(spec, spec.objectives, book.evaluations(run))


def health_of(
    spec: SearchSpec,
    objectives: Objectives,
    evaluations: list[Evaluation],
    running: Mapping[Candidate, float] | None = None,
) -> "Health":
    """What the checks say of a search."""
    from piip_search.analysis.health import examine
    from piip_search.space import Designs, Features

    space = spec.space.build()

    def features(architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        costs = [objectives.price(architecture) for architecture in architectures]
        rows = np.stack([space.encode(architecture) for architecture in architectures])
        designs = Designs(rows, np.array([cost.macs for cost in costs]), np.array([cost.params for cost in costs]))
        return Features(space, designs).of(np.arange(len(designs)))

    return examine(evaluations, objectives, spec.bounds.gmacs, spec.rungs, spec.budget.trials, features, running)


def report_source(book: "Ledger", run: str) -> "Source":
    """What a report of a run is made from."""
    from piip_dashboards.report import Source

    history, record = history_of(book, run), book.search(run)
    unfinished = book.unfinished(run)
    audits = {
        other.name: (book.evaluations(other.name), tuple(book.unfinished(other.name)))
        for other in book.searches()
        if other.audit_of == record.uid
    }
    health = None
    if not record.is_audit:  # whose designs were not searched for
        health = health_of(history.spec, history.objectives, history.evaluations, unfinished)
    return Source(
        record=record,
        spec=history.spec,
        evaluations=history.evaluations,
        unfinished=tuple(unfinished),
        sittings=book.sittings(run),
        audits=audits,
        health=health,
        ledger=book.shown,
    )
