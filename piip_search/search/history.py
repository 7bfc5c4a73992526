"""A run as a sequence of events, with all results that follow from them, for searches, commands, pages and reports."""

import gc
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design, as_architecture
from piip_search.config import SearchSpec
from piip_search.cost import CostAxis
from piip_search.errors import ChoiceError
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.evaluation.objectives import (
    MetricAxis,
    Objectives,
    ParetoFront,
    RunningFronts,
    finished,
    front_of,
    pareto_front,
)
from piip_search.evaluation.selection import NOTHING_FINISHED, chosen
from piip_search.ledger import UnreadableRow
from piip_search.search.ending import TRIALS_SPENT, little_left, reaches, spent
from piip_search.sections import closest

RunEvent = Candidate | Evaluation
"""A candidate was proposed, or its evaluation ended."""


@dataclass(frozen=True)
class DesignHistory:
    """One design of a run, with all its candidates and evaluations.

    Attributes:
        design: The design.
        candidates: Its candidates, in the order of their proposal.
        evaluations: Their evaluations, in the order of their ends.
        rungs: Fidelity of each rung of the schedule, the full training last.
    """

    design: Design
    candidates: tuple[Candidate, ...]
    evaluations: tuple[Evaluation, ...]
    rungs: tuple[Fidelity, ...]

    @property
    def architecture(self) -> Architecture:
        """The design as the architecture of a network; `as_architecture` has the error."""
        return as_architecture(self.design)

    @cached_property
    def fingerprint(self) -> str:
        return self.design.fingerprint

    @property
    def first(self) -> Candidate:
        """The candidate that began the design."""
        return self.candidates[0]

    @cached_property
    def whole(self) -> tuple[Evaluation, ...]:
        """The evaluations of full trainings that were measured."""
        return tuple(e for e in finished(self.evaluations, self.rungs[-1]) if e.status == "done")

    @property
    def running(self) -> bool:
        """Whether a candidate of the design has no evaluation yet."""
        return len(self.candidates) > len(self.evaluations)

    @property
    def state(self) -> str:
        """`done` after a full training, else `running`, `failed` or `paused`."""
        if self.whole:
            return "done"
        if self.running:
            return "running"
        return "failed" if any(e.status == "failed" for e in self.evaluations) else "paused"

    @property
    def rung(self) -> int:
        """The highest rung that it reached, from 0; -1 for none."""
        epochs = [rung.epochs for rung in self.rungs]
        reached = [e.candidate.fidelity.epochs for e in self.evaluations if e.status == "done"]
        return max((epochs.index(count) for count in reached if count in epochs), default=-1)

    def values(self, metric: str) -> list[float]:
        """A metric of the full trainings, one value a seed; one evaluation may have several seeds."""
        return [value for e in self.whole if metric in e.metrics for value in _by_seed(e, metric)]

    def value(self, metric: str) -> float | None:
        """The mean of a metric over seeds; None if no full training measured it."""
        values = self.values(metric)
        return statistics.fmean(values) if values else None

    def deviation(self, metric: str) -> float | None:
        """The standard deviation of a metric between seeds; None for fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    @cached_property
    def representative(self) -> Evaluation | None:
        """The first full training, with the means over all full trainings as its metrics."""
        if not self.whole:
            return None
        names = [name for name in self.whole[0].metrics if all(name in e.metrics for e in self.whole)]
        means = {name: statistics.fmean(e.metrics[name] for e in self.whole) for name in names}
        return self.whole[0] if len(self.whole) == 1 else replace(self.whole[0], metrics=means)


def _by_seed(evaluation: Evaluation, metric: str) -> list[float]:
    """The metric of each seed of an evaluation; the mean alone if the evaluation does not list seeds."""
    found = [row.get(metric) for row in evaluation.facts.seeds.values() if isinstance(row, Mapping)]
    values = [float(value) for value in found if isinstance(value, int | float)]
    return values if len(values) == evaluation.candidate.fidelity.seeds > 1 else [evaluation.metrics[metric]]


@dataclass(frozen=True)
class FrontsView:
    """The fronts of a run on some axes.

    Attributes:
        objectives: Metrics and costs that are traded off.
        evaluations: One evaluation for each fully trained design with these metrics.
        fronts: Front of each tier, cheapest tier first.
    """

    objectives: Objectives
    evaluations: tuple[Evaluation, ...]
    fronts: tuple[ParetoFront, ...]


class RunHistory:
    """The events of a run and the results that follow from them; it grows with the run (`add`).

    A design counts once on a front: with the mean of its full trainings, if it has several seeds.

    Attributes:
        spec: The space and settings of the search.
        objectives: Objectives of the search.
        events: All events, in order.
        candidates: All candidates, in the order of their proposal.
        evaluations: All evaluations, in the order of their ends.
        designs: History of each design, in the order in which they were first proposed.
        gpu_seconds: GPU time of all evaluations, and of the evaluator's preparation.
        moves: The fronts of the tiers after each evaluation that changed one, with its place from 1.
        unreadable: Rows of the ledger that are left out.
    """

    def __init__(
        self,
        spec: SearchSpec,
        events: Iterable[RunEvent] = (),
        objectives: Objectives | None = None,
        unreadable: Sequence[UnreadableRow] = (),
    ) -> None:
        """Reads the events.

        Args:
            spec: The space and settings of the search.
            events: Events so far, in order.
            objectives: Objectives of the search; the spec's by default.
            unreadable: Rows of the ledger that are left out.
        """
        self.spec = spec
        self.unreadable = tuple(unreadable)
        self.objectives = objectives or spec.objectives
        self.events: list[RunEvent] = []
        self.candidates: list[Candidate] = []
        self.evaluations: list[Evaluation] = []
        self.designs: dict[Design, DesignHistory] = {}
        self.gpu_seconds = 0.0
        self._running = RunningFronts(self.objectives, self.tiers)
        self._gains: list[Mapping[float, float]] = []
        self._known_losses: dict[Design, tuple[Evaluation, tuple[float, ...]]] = {}
        self._reached = False
        self.moves: list[tuple[int, tuple[ParetoFront, ...]]] = []
        for event in events:
            self.add(event)

    def later(self, events: Iterable[RunEvent], unreadable: Sequence[UnreadableRow] = ()) -> "RunHistory":
        """A history with more events; this one stays unchanged."""
        left_out = dict.fromkeys([*self.unreadable, *unreadable])
        grown = RunHistory(self.spec, objectives=self.objectives, unreadable=tuple(left_out))
        grown.events, grown.candidates = [*self.events], [*self.candidates]
        grown.evaluations, grown.designs = [*self.evaluations], {**self.designs}
        grown._known_losses = {**self._known_losses}
        grown.gpu_seconds, grown._reached, grown._gains = self.gpu_seconds, self._reached, [*self._gains]
        grown._running.fronts, grown.moves = self._running.fronts, [*self.moves]
        for event in events:
            grown.add(event)
        return grown

    def add(self, event: RunEvent) -> None:
        """Adds the next event."""
        self.events.append(event)
        if isinstance(event, Candidate):
            self._add_candidate(event)
        else:
            self._add_evaluation(event)

    def charge(self, gpu_seconds: float) -> None:
        """Adds GPU time of the evaluator's preparation, which is no event."""
        self.gpu_seconds += gpu_seconds

    def fronts_with(self, evaluation: Evaluation) -> tuple[ParetoFront, ...]:
        """The front of each tier after one more evaluation; an unchanged front is the same object."""
        if evaluation.candidate.fidelity != self.spec.rungs[-1] or self.objectives.value(evaluation) is None:
            return self.fronts
        known = self.designs[evaluation.candidate.design]
        if not known.whole:
            return self._running.fronts_with(evaluation)
        # Another seed moves the mean, which may also leave a front.
        with_it = replace(known, evaluations=(*known.evaluations, evaluation))
        members = {e.candidate.design for front in self.fronts for e in front.evaluations}
        if (
            known.design not in members and with_it.representative is not None
        ):  # its mean was dominated, and may still be
            return self._running.fronts_with(with_it.representative)
        others = [design for design in self.designs.values() if design is not known]
        means = self.objectives.measured(_representatives([*others, with_it]))
        losses_NM = np.array([self._losses(mean) for mean in means])
        now = [front_of(means, losses_NM, self.objectives, tier) for tier in self.tiers]
        return tuple(then if then == new else new for then, new in zip(self.fronts, now, strict=True))

    def _losses(self, mean: Evaluation) -> tuple[float, ...]:
        """Losses of a design's mean, kept until it changes: a front needs those of all designs."""
        known = self._known_losses.get(mean.candidate.design)
        if known is None or known[0] is not mean:
            known = mean, tuple(self.objectives.losses([mean])[0].tolist())
            self._known_losses[mean.candidate.design] = known
        return known[1]

    def replay(self) -> Iterator[tuple[Evaluation, tuple[ParetoFront, ...]]]:
        """Each evaluation, with the front of each tier after it."""
        past = RunHistory(self.spec, objectives=self.objectives)
        for event in self.events:
            past.add(event)
            if isinstance(event, Evaluation):
                yield event, past.fronts

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs of each rung, the full training last."""
        return tuple(rung.epochs for rung in self.spec.rungs)

    @property
    def tiers(self) -> tuple[float, ...]:
        """Tiers of the limit, rising."""
        return tuple(self.spec.bounds.tiers)

    @property
    def fronts(self) -> tuple[ParetoFront, ...]:
        """The front of each tier, cheapest tier first."""
        return self._running.fronts

    @property
    def front(self) -> ParetoFront:
        """The front of all designs, also of those beyond the tiers."""
        means = self.representatives
        costs = [self.objectives.cost(evaluation) for evaluation in means]
        return pareto_front(means, self.objectives, max([self.tiers[-1], *costs]))

    @property
    def representatives(self) -> list[Evaluation]:
        """One evaluation for each fully trained design: the mean of its seeds."""
        return _representatives(self.designs.values())

    def view(self, metrics: Sequence[str] = (), costs: Sequence[str] = ()) -> FrontsView:
        """The fronts on other axes, without any new training. Only the search's own axis of cost has tiers.

        Args:
            metrics: Names of measured metrics; those of the search by default.
            costs: Names of axes; those of the search by default.

        Raises:
            ChoiceError: A metric was not measured, or a cost is not known.
        """
        if not metrics and not costs:
            return FrontsView(self.objectives, tuple(self.objectives.measured(self.representatives)), self.fronts)
        objectives = replace(
            self.objectives,
            metrics=tuple(map(self._metric, metrics)) or self.objectives.metrics,
            costs=tuple(map(self._axis, costs)) or self.objectives.costs,
        )
        found = objectives.measured(self.representatives)
        costs_NC = objectives.losses(found)[:, len(objectives.metrics) :]
        highest = [float(most) for most in costs_NC.max(axis=0, initial=0.0)]
        objectives = replace(objectives, most=tuple(highest[1:]))
        tiers = self.tiers if objectives.axis == self.objectives.axis else (highest[0],)
        return FrontsView(objectives, tuple(found), tuple(pareto_front(found, objectives, tier) for tier in tiers))

    def _metric(self, name: str) -> MetricAxis:
        own = {metric.name: metric for metric in self.objectives.metrics}
        measured = dict.fromkeys(key for evaluation in self.representatives for key in evaluation.metrics)
        if name not in own and name not in measured:
            raise ChoiceError(f"no {name} was measured{closest(name, measured)}" if measured else NOTHING_FINISHED)
        return own.get(name) or self.spec.metric_axis(name)

    def _axis(self, name: str) -> CostAxis:
        known = {axis.name: axis for axis in self.objectives.known}
        if name not in known:
            raise ChoiceError(f"no cost {name!r} is known{closest(name, known)}")
        return known[name]

    @property
    def finished(self) -> list[Evaluation]:
        """Evaluations of full trainings, including failed ones."""
        return finished(self.evaluations, self.spec.rungs[-1])

    @property
    def failed(self) -> list[Evaluation]:
        """Failed evaluations."""
        return [evaluation for evaluation in self.evaluations if evaluation.status == "failed"]

    @property
    def unfinished(self) -> list[Candidate]:
        """Candidates without an evaluation."""
        ended = {evaluation.candidate.number for evaluation in self.evaluations}
        return [candidate for candidate in self.candidates if candidate.number not in ended]

    @property
    def left(self) -> dict[float, float]:
        """Expected remaining gain of each tier, as the sampler last estimated it; empty before its first estimate."""
        return dict(self._gains[-1]) if self._gains else {}

    @property
    def measured_nothing(self) -> bool:
        """Whether all full trainings failed, or all evaluations if there was no full training."""
        ended = self.finished or self.evaluations
        return bool(ended) and all(evaluation.status == "failed" for evaluation in ended)

    @property
    def little_left(self) -> str:
        """The reason why no new design is worth its training; empty while one may be."""
        return little_left(self.spec.budget, self.objectives.metric, self._gains)

    def spent(self, hours: float = 0.0) -> str:
        """The reason why the run ends immediately; empty while it may go on.

        Args:
            hours: Hours of this sitting.
        """
        return spent(self.spec.budget, self._reached, self.gpu_seconds / 3600, hours)

    @property
    def ending(self) -> str:
        """The reason why the run starts nothing new, whoever drives it; empty while it may."""
        trials = TRIALS_SPENT if len(self.designs) >= self.spec.budget.trials else ""
        return self.spent() or trials or self.little_left

    def gpu_seconds_of(self, evaluation: Evaluation) -> float:
        """GPU time of one evaluation."""
        return evaluation.seconds * self.spec.gpu_of(evaluation.candidate.design)

    def choose(self, choice: str) -> tuple[Evaluation, ...]:
        """The designs of a user's choice, each with the mean of its seeds.

        Args:
            choice: `all` for the whole front, `best`, `best<=250G`, `knee`, a trial's number, or at least 6 digits of
                a fingerprint.

        Raises:
            ChoiceError: The choice fits none, or more than one.
        """
        return chosen(self.representatives, self.objectives, self._first_number(choice))

    def _first_number(self, choice: str) -> str:
        """The number of a design's first full training, if a user named another of its trials."""
        for evaluation in self.evaluations:
            if str(evaluation.candidate.number) == choice:
                whole = self.designs[evaluation.candidate.design].whole
                return str(whole[0].candidate.number) if whole else choice
        return choice

    def _add_candidate(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)
        if candidate.left:
            self._gains.append(candidate.left)
        known = self.designs.get(candidate.design)
        self.designs[candidate.design] = (
            DesignHistory(candidate.design, (candidate,), (), tuple(self.spec.rungs))
            if known is None
            else replace(known, candidates=(*known.candidates, candidate))
        )

    def _add_evaluation(self, evaluation: Evaluation) -> None:
        before, self._running.fronts = self.fronts, self.fronts_with(evaluation)
        self.evaluations.append(evaluation)
        if any(now is not then for now, then in zip(self.fronts, before, strict=True)):
            self.moves.append((len(self.evaluations), self.fronts))
        design = self.designs[evaluation.candidate.design]
        self.designs[design.design] = replace(design, evaluations=(*design.evaluations, evaluation))
        self.gpu_seconds += self.gpu_seconds_of(evaluation)
        whole = finished([evaluation], self.spec.rungs[-1])
        self._reached = self._reached or reaches(self.spec.budget.target, self.objectives, whole)


def _representatives(designs: Iterable[DesignHistory]) -> list[Evaluation]:
    means = (design.representative for design in designs)
    return [evaluation for evaluation in means if evaluation is not None]


@contextmanager
def without_garbage() -> Iterator[None]:
    """Pauses the collection of garbage: a replay keeps what it makes, and looking through it takes half of its time."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()
