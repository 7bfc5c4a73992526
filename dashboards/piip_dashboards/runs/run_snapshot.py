"""A run as the ledger held it at one moment: its history, with the times of its events. Facts are worked out once."""

import statistics
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

from piip_search.architecture import Architecture
from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront
from piip_search.ledger import Event, PreparationRecord, SearchRecord, SearchRows, Sitting, UnreadableRow
from piip_search.search.history import DesignHistory, RunHistory


class RunSnapshot:
    """A run at one moment; it never changes, and `with_rows` gives the next one.

    Attributes:
        record: The row of the run.
        history: The events of the run, and the facts that follow from them.
        events: Events with their times and positions.
        sittings: The processes that drove the run.
        preparations: The steps in which the run's evaluator was prepared.
    """

    def __init__(
        self,
        record: SearchRecord,
        history: RunHistory,
        events: Sequence[Event],
        sittings: Sequence[Sitting] = (),
        preparations: Sequence[PreparationRecord] = (),
    ) -> None:
        self.record, self.history = record, history
        self.events, self.sittings, self.preparations = tuple(events), tuple(sittings), tuple(preparations)

    @classmethod
    def of(cls, record: SearchRecord, spec: SearchSpec, rows: SearchRows) -> "RunSnapshot":
        """A run with its rows so far."""
        history = RunHistory(spec, (event.item for event in rows.events), unreadable=rows.unreadable)
        return cls(record, history, rows.events, rows.sittings, rows.preparations)

    def with_rows(self, rows: SearchRows) -> "RunSnapshot":
        """The snapshot of the run at a later moment."""
        later = self.history.later((event.item for event in rows.events), rows.unreadable)
        events = (*self.events, *rows.events)
        return RunSnapshot(self.record, later, events, rows.sittings, rows.preparations)

    @property
    def unreadable(self) -> tuple[UnreadableRow, ...]:
        """Rows of the ledger that are left out."""
        return self.history.unreadable

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def spec(self) -> SearchSpec:
        return self.history.spec

    @property
    def objectives(self) -> Objectives:
        return self.history.objectives

    @property
    def evaluations(self) -> list[Evaluation]:
        """All evaluations, in the order in which they ended."""
        return self.history.evaluations

    @property
    def fronts(self) -> tuple[ParetoFront, ...]:
        """The front of each tier, the cheapest tier first."""
        return self.history.fronts

    @property
    def tiers(self) -> tuple[float, ...]:
        """Tiers of the limit on their axis, rising."""
        return self.history.tiers

    @property
    def position(self) -> int:
        """Position of the last event; 0 before the first."""
        return self.events[-1].position if self.events else 0

    @property
    def last_at(self) -> datetime:
        """Time of the last event or sitting."""
        times = [self.record.created_at, *(s.began_at for s in self.sittings[-1:]), *(e.at for e in self.events[-1:])]
        return max(times)

    @cached_property
    def ended_at(self) -> list[datetime]:
        """Time at which each evaluation ended."""
        return [event.at for event in self.events if isinstance(event.item, Evaluation)]

    @cached_property
    def unfinished(self) -> dict[Candidate, datetime]:
        """Candidates without an evaluation, and the times of their proposals."""
        numbers = {candidate.number for candidate in self.history.unfinished}
        return {
            event.item: event.at
            for event in self.events
            if isinstance(event.item, Candidate) and event.item.number in numbers
        }

    @cached_property
    def designs(self) -> dict[str, DesignHistory]:
        """Designs by fingerprint, in the order in which they were first proposed."""
        return {design.fingerprint: design for design in self.history.designs.values()}

    @cached_property
    def metrics(self) -> list[str]:
        """Names of all metrics that were measured, the searched ones first."""
        names = dict.fromkeys(metric.name for metric in self.objectives.metrics)
        for evaluation in self.evaluations:
            names |= dict.fromkeys(evaluation.metrics)
        return list(names)

    @cached_property
    def titles(self) -> dict[str, str]:
        """Titles of the metrics that the task knows, by name."""
        return {metric.name: metric.title for metric in self.spec.known_task.metrics}

    @cached_property
    def representatives(self) -> list[Evaluation]:
        """One evaluation a design that was trained to the end: the mean of its seeds."""
        return self.history.representatives

    @cached_property
    def front(self) -> ParetoFront:
        """The front of all designs, also of those beyond the tiers."""
        return self.history.front

    @cached_property
    def costs(self) -> list[float]:
        """Costs of the fully trained designs, rising."""
        return sorted(cost for design, cost in self.priced if design.whole)

    @cached_property
    def priced(self) -> list[tuple[DesignHistory, float]]:
        """All designs with their costs."""
        return [(design, self.cost(design.architecture)) for design in self.designs.values()]

    @property
    def gpu(self) -> bool:
        """Whether trials use GPUs; otherwise hours of trials are counted."""
        return bool(self.spec.resources.gpu)

    @cached_property
    def hours(self) -> list[float]:
        """GPU-hours, the preparation's included, or hours of trials, until each evaluation ended."""
        spent, total = [], 0.0
        for evaluation, at in zip(self.evaluations, self.ended_at, strict=True):
            total += evaluation.seconds / 3600 * (self.spec.gpu_of(evaluation.candidate.architecture) or 1.0)
            spent.append(total + self._prepared_hours(at))
        return spent

    @property
    def hours_in_all(self) -> float:
        """GPU-hours, the preparation's included, or hours of trials, until now."""
        trials = self.hours[-1] - self._prepared_hours(self.ended_at[-1]) if self.hours else 0.0
        return trials + self._prepared_hours(None)

    def _prepared_hours(self, until: datetime | None) -> float:
        """GPU-hours of preparations that ended by a time; all of them for None."""
        ended = [step for step in self.preparations if until is None or (step.at is not None and step.at <= until)]
        return sum(step.gpu_seconds for step in ended) / 3600

    def cost(self, architecture: Architecture) -> float:
        """Cost on the axis of the tiers."""
        return self.objectives.price(architecture)

    @cached_property
    def noise(self) -> float | None:
        """Standard deviation of the searched metric between seeds, the median over designs; None without seeds."""
        spreads = [
            design.deviation(self.objectives.metric) for design in self.designs.values() if len(design.whole) > 1
        ]
        known = [spread for spread in spreads if spread is not None]
        return statistics.median(known) if known else None
