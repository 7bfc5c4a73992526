"""A run as the ledger held it at one moment, and what follows from that: worked out once, then kept."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from piip_search.architecture import Architecture
from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.objectives import ParetoFront, finished, pareto_front
from piip_search.ledger import Event, SearchRecord, Sitting


@dataclass(frozen=True)
class DesignSnapshot:
    """One architecture, and all that was measured of it.

    Attributes:
        architecture: The design.
        first: The candidate that began it.
        candidates: All that were proposed of it, by number.
        evaluations: All that ended, in that order.
        rungs: Epochs of each rung of the schedule, the whole training last.
        whole: The evaluations that were trained to the end and measured.
    """

    architecture: Architecture
    first: Candidate
    candidates: tuple[Candidate, ...]
    evaluations: tuple[Evaluation, ...]
    rungs: tuple[int, ...]
    whole: tuple[Evaluation, ...]

    @cached_property
    def fingerprint(self) -> str:
        return self.architecture.fingerprint

    @property
    def running(self) -> bool:
        """Whether something of it has not ended."""
        return len(self.candidates) > len(self.evaluations)

    @property
    def state(self) -> str:
        """`done` once it was trained to the end, else `running`, `failed` or `paused`."""
        if self.whole:
            return "done"
        if self.running:
            return "running"
        return "failed" if any(e.status == "failed" for e in self.evaluations) else "paused"

    @property
    def rung(self) -> int:
        """The highest rung that it reached, from 0; -1 for none."""
        reached = [e.candidate.fidelity.epochs for e in self.evaluations if e.status == "done"]
        return max((self.rungs.index(epochs) for epochs in reached if epochs in self.rungs), default=-1)

    def values(self, metric: str) -> list[float]:
        """What the whole trainings reached, a number a seed, of which one evaluation may have several."""
        return [value for e in self.whole if metric in e.metrics for value in _by_seed(e, metric)]

    def value(self, metric: str) -> float | None:
        """The mean over seeds; None where it was not trained to the end, or measured no such thing."""
        values = self.values(metric)
        return statistics.fmean(values) if values else None

    def deviation(self, metric: str) -> float | None:
        """The standard deviation between seeds; None for fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def representative(self) -> Evaluation | None:
        """The first whole training, with the means over seeds as its metrics."""
        if not self.whole:
            return None
        names = [name for name in self.whole[0].metrics if all(name in e.metrics for e in self.whole)]
        means = {name: statistics.fmean(e.metrics[name] for e in self.whole) for name in names}
        return self.whole[0] if len(self.whole) == 1 else replace(self.whole[0], metrics=means)


def _by_seed(evaluation: Evaluation, metric: str) -> list[float]:
    """What each seed of an evaluation reached; its mean alone where it does not say."""
    seeds = evaluation.facts.get("seeds")
    each = seeds.values() if isinstance(seeds, Mapping) else ()
    found = [row.get(metric) for row in each if isinstance(row, Mapping)]
    values = [float(value) for value in found if isinstance(value, int | float)]
    return values if len(values) == evaluation.candidate.fidelity.seeds > 1 else [evaluation.metrics[metric]]


class RunSnapshot:
    """A run at one moment. It does not change; `with_events` gives the next one.

    Attributes:
        record: The search as the ledger knows it.
        spec: What is searched.
        objectives: What is traded off.
        events: All that happened, in order.
        sittings: The processes that drove it.
    """

    def __init__(
        self, record: SearchRecord, spec: SearchSpec, events: Sequence[Event], sittings: Sequence[Sitting] = ()
    ) -> None:
        self.record, self.spec = record, spec
        self.objectives = spec.objectives
        self.events, self.sittings = tuple(events), tuple(sittings)

    def with_events(self, events: Sequence[Event], sittings: Sequence[Sitting]) -> "RunSnapshot":
        """The same run later."""
        return RunSnapshot(self.record, self.spec, (*self.events, *events), sittings)

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def position(self) -> int:
        """Position of the last event; 0 before the first."""
        return self.events[-1].position if self.events else 0

    @property
    def last_at(self) -> datetime:
        """When something last happened."""
        times = [self.record.created_at, *(s.began_at for s in self.sittings[-1:]), *(e.at for e in self.events[-1:])]
        return max(times)

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        """All that ended, in that order."""
        return [event.item for event in self.events if isinstance(event.item, Evaluation)]

    @cached_property
    def ended_at(self) -> list[datetime]:
        """When each evaluation ended."""
        return [event.at for event in self.events if isinstance(event.item, Evaluation)]

    @cached_property
    def candidates(self) -> list[Candidate]:
        """All that were proposed, in that order."""
        return [event.item for event in self.events if isinstance(event.item, Candidate)]

    @cached_property
    def unfinished(self) -> dict[Candidate, datetime]:
        """What has not ended, and when it was proposed."""
        ended = {evaluation.candidate.number for evaluation in self.evaluations}
        return {
            event.item: event.at
            for event in self.events
            if isinstance(event.item, Candidate) and event.item.number not in ended
        }

    @cached_property
    def failed(self) -> list[Evaluation]:
        return [evaluation for evaluation in self.evaluations if evaluation.status == "failed"]

    @cached_property
    def designs(self) -> dict[str, DesignSnapshot]:
        """By fingerprint, in the order in which they were first proposed."""
        asked: dict[Architecture, list[Candidate]] = defaultdict(list)
        came: dict[Architecture, list[Evaluation]] = defaultdict(list)
        for candidate in self.candidates:
            asked[candidate.architecture].append(candidate)
        for evaluation in self.evaluations:
            came[evaluation.candidate.architecture].append(evaluation)
        rungs, last = self.epochs, self.spec.rungs[-1]
        designs = [
            DesignSnapshot(
                architecture,
                mine[0],
                tuple(mine),
                tuple(came[architecture]),
                rungs,
                tuple(e for e in came[architecture] if e.status == "done" and e.candidate.fidelity == last),
            )
            for architecture, mine in asked.items()
        ]
        return {design.fingerprint: design for design in designs}

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs of each rung, the whole training last."""
        return tuple(rung.epochs for rung in self.spec.rungs)

    @property
    def tiers(self) -> tuple[float, ...]:
        """Tiers of the limit in GMACs, rising."""
        return tuple(self.spec.bounds.gmacs)

    @cached_property
    def metrics(self) -> list[str]:
        """Names of all that was measured, the searched one first."""
        names = dict.fromkeys([self.objectives.metric])
        for evaluation in self.evaluations:
            names |= dict.fromkeys(evaluation.metrics)
        return list(names)

    @cached_property
    def representatives(self) -> list[Evaluation]:
        """One evaluation for each design that was trained to the end: the mean of its seeds."""
        found = [design.representative for design in self.designs.values()]
        return [evaluation for evaluation in found if evaluation is not None]

    @cached_property
    def fronts(self) -> list[ParetoFront]:
        """Front of each tier; a design counts with the mean of its seeds."""
        return [pareto_front(self.representatives, self.objectives, tier) for tier in self.tiers]

    @cached_property
    def front(self) -> ParetoFront:
        """Front of all designs, those beyond the tiers included."""
        return pareto_front(self.representatives, self.objectives, max([self.tiers[-1], *self.costs]))

    @cached_property
    def costs(self) -> list[float]:
        """GMACs of the designs that were trained to the end, rising."""
        return sorted(gmacs for design, gmacs in self.priced if design.whole)

    @cached_property
    def priced(self) -> list[tuple[DesignSnapshot, float]]:
        """All designs with their GMACs."""
        return [(design, self.gmacs(design.architecture)) for design in self.designs.values()]

    @cached_property
    def finished(self) -> list[Evaluation]:
        """Whole trainings, the failed ones included."""
        return finished(self.evaluations, self.spec.rungs[-1])

    @property
    def gpu(self) -> bool:
        """Whether trials occupy GPUs; else hours of trials are counted."""
        return bool(self.spec.resources.gpu)

    @cached_property
    def hours(self) -> list[float]:
        """GPU-hours, or hours of trials, spent until each evaluation ended."""
        spent, total = [], 0.0
        for evaluation in self.evaluations:
            total += evaluation.seconds / 3600 * (self.spec.gpu_of(evaluation.candidate.architecture) or 1.0)
            spent.append(total)
        return spent

    def gmacs(self, architecture: Architecture) -> float:
        """Cost under the search's own convention, in GMACs."""
        return self.objectives.price(architecture).gmacs

    @cached_property
    def noise(self) -> float | None:
        """Standard deviation of the searched metric between seeds, the median over designs; None without seeds."""
        spreads = [
            design.deviation(self.objectives.metric) for design in self.designs.values() if len(design.whole) > 1
        ]
        known = [spread for spread in spreads if spread is not None]
        return statistics.median(known) if known else None

    @cached_property
    def by_number(self) -> Mapping[int, Evaluation]:
        return {evaluation.candidate.number: evaluation for evaluation in self.evaluations}
