"""A search over the designs of a table, with the real sampler, schedule, ledger and search, and without training.

Legend: N designs, D choices, K losses, C costs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture.design import Design
from piip_search.config import SearchSpec
from piip_search.config.search_spec import MOST_OBJECTIVES
from piip_search.cost import CostAxis, CostLabel
from piip_search.errors import TableError
from piip_search.evaluation.evaluation import Evaluation, Fidelity
from piip_search.evaluation.objectives import MetricAxis, Objectives
from piip_search.evaluation.pareto import hypervolume
from piip_search.evaluation.tracker import Tracker
from piip_search.ledger import Ledger
from piip_search.search.samplers.acquisition import cost_feature
from piip_search.search.samplers.sampler import make_sampler
from piip_search.search.search import Search, policy_of
from piip_search.simulation.table import Table
from piip_search.simulation.table_design import TableDesign

SECONDS_AN_EPOCH = 60.0
"""Seconds an epoch of a design of mean cost, for a table without times; durations are proportional to cost."""


@dataclass(frozen=True)
class TableDesigns:
    """The designs that may be proposed.

    Attributes:
        rows_ND: Rows of the designs.
        costs_NC: Costs of the designs, in the table's units; the tiers are on the first.
    """

    rows_ND: NDArray[np.intp]
    costs_NC: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows_ND)


@dataclass(frozen=True)
class Simulation:
    """A search on a table.

    Attributes:
        spec: Limits, budget, schedule, sampler and seed of the search.
        table: Designs and results.
        losses: Names of the losses to lower.
        costs: Names of the known costs; the first is in the unit of the limits.
    """

    spec: SearchSpec
    table: Table
    losses: tuple[str, ...]
    costs: tuple[str, ...]

    @classmethod
    def of(cls, spec: SearchSpec, table: Table, losses: Sequence[str] = (), costs: Sequence[str] = ()) -> "Simulation":
        """Creates a simulation, and checks that the table suits the search.

        Args:
            spec: The search.
            table: The table.
            losses: Names of some of its losses; the first by default.
            costs: Names of some of its costs; the first by default.

        Raises:
            TableError: A loss or cost is missing, no design fits a tier, or the table lacks a rung.
        """
        chosen = cls(
            spec,
            table,
            tuple(map(table.loss, losses)) or (table.loss(),),
            tuple(map(table.cost, costs)) or (table.cost(),),
        )
        _check_number(chosen.losses, chosen.costs)
        _check_tiers(spec, table, chosen.cost)
        for loss in chosen.losses:
            _check_rungs(spec, table, loss)
        for rung in spec.rungs:
            table.times(rung.epochs)
        return chosen

    @property
    def loss(self) -> str:
        """Name of the first loss."""
        return self.losses[0]

    @property
    def cost(self) -> str:
        """Name of the cost of the tiers."""
        return self.costs[0]

    @cached_property
    def objectives(self) -> Objectives:
        """Objectives with the metric 1 - loss for losses that are shares, else -loss; its best is 0 or more."""
        labels = (CostLabel(name, "", name, name, name) for name in self.costs)
        axes = tuple(CostAxis(label, _known_cost(place)) for place, label in enumerate(labels))
        most = tuple(float(most) or 1.0 for most in self.designs.costs_NC[:, 1:].max(0))
        return Objectives(tuple(self._metric(loss) for loss in self.losses), axes, most, axes)

    @property
    def dimensions(self) -> tuple[tuple[str, int], ...]:
        """Name and number of values of each choice."""
        names, codes = self.table.choices, self.table.codes
        return tuple((name, int(codes[:, place].max()) + 1) for place, name in enumerate(names))

    @cached_property
    def designs(self) -> TableDesigns:
        """The table's designs within the limit, one for each combination of choices."""
        _, first = np.unique(self.table.codes, axis=0, return_index=True)
        costs_NC = self._costs_NC
        fits = np.sort(first[costs_NC[first, 0] <= self.spec.bounds.tiers[-1]])
        return TableDesigns(self.table.codes[fits], costs_NC[fits])

    def decode(self, row_D: NDArray[Any]) -> TableDesign:
        """The design of a row of codes."""
        return self._design(self._place[tuple(int(code) for code in row_D)])

    def encode(self, design: Design) -> NDArray[Any]:
        """The row of codes of a design."""
        row: NDArray[Any] = self.table.codes[self.place(design)]
        return row

    def place(self, design: Design) -> int:
        """Index of a design in the table."""
        return self._by_choices[_of_a_table(design).choices]

    def metrics_after(self, design: Design, fidelity: Fidelity) -> dict[str, float] | None:
        """The metrics of a design after so many epochs; None if the table lacks a loss for it."""
        place, metrics = self.place(design), {}
        for loss, metric in zip(self.losses, self.objectives.metrics, strict=True):
            curve = self.table.curves.get(loss)
            values_N = self.table.losses[loss] if curve is None else curve[fidelity.epochs]
            metrics[metric.name] = _top(metric) - float(values_N[place])
        return metrics if np.isfinite(list(metrics.values())).all() else None

    def losses_of(self, evaluation: Evaluation) -> tuple[float, ...] | None:
        """The table's losses for an evaluation."""
        values = self.objectives.values(evaluation)
        metrics = self.objectives.metrics
        return values and tuple(_top(metric) - value for metric, value in zip(metrics, values, strict=True))

    def seconds_until(self, design: Design, epochs: int) -> float:
        """Time from the start to the end of so many epochs."""
        place, times = self.place(design), self.table.times(epochs)
        if times is not None:
            return float(times[place])
        costs = self.table.costs[self.cost]
        return float(SECONDS_AN_EPOCH * max(epochs, 1) * (costs[place] / costs.mean() if costs.any() else 1.0))

    def best(self, tier: float, loss: str | None = None) -> float:
        """The lowest value of a loss, by default the first, within a tier; infinite if none is known."""
        values_N = self.table.losses[loss or self.loss]
        return float(np.fmin.reduce(values_N[self.table.costs[self.cost] <= tier], initial=np.inf))

    def share(self, search: Search, tier: float) -> float:
        """Hypervolume of a search's front within a tier, as a share of the whole table's."""
        reference = self.objectives.reference(tier)
        missing = [
            self.table.losses[loss] - _top(metric) + metric.best
            for loss, metric in zip(self.losses, self.objectives.metrics, strict=True)
        ]
        points = np.hstack([np.stack(missing, 1), self._costs_NC])
        known_N = np.isfinite(points).all(1) & (self.table.costs[self.cost] <= tier)
        whole = hypervolume(points[known_N], reference)
        found = hypervolume(self.objectives.losses(self.objectives.measured(search.finished)), reference)
        return found / whole if whole else 1.0

    def open(self, run: str, ledger: Ledger | None = None, tracker: Tracker | None = None, clock: Any = None) -> Search:
        """Opens the search with the sampler and the schedule of its space.

        Args:
            run: Name of the run.
            ledger: Ledger of the search, with `TableDesign.from_dict` as its `read_design`; in memory by default.
            tracker: Mirror of the search.
            clock: Returns seconds.
        """
        spec, designs = self.spec, self.designs
        ledger = ledger or Ledger("sqlite://", read_design=TableDesign.from_dict)
        places = np.array([self._place[tuple(row)] for row in designs.rows_ND.tolist()])
        features_NF = np.concatenate([self.table.features_NF[places], cost_feature(designs.costs_NC[:, 0])[:, None]], 1)
        sampler = make_sampler(
            spec.sampler,
            self,
            designs,
            spec.budget.trials,
            spec.seed,
            spec.bounds.tiers,
            lambda indices: features_NF[indices],
            metrics=len(self.losses),
            groups=spec.grouping,
        )
        policy = policy_of(spec, sampler, self.objectives)
        keywords = {} if clock is None else {"clock": clock}
        recipe = "/".join([*self.losses, *self.costs])[:16]
        return Search(run, spec, policy, ledger, recipe, tracker, objectives=self.objectives, **keywords)

    @property
    def _costs_NC(self) -> NDArray[np.float64]:
        return np.stack([self.table.costs[name] for name in self.costs], 1)

    def _metric(self, loss: str) -> MetricAxis:
        least, most = np.nanmin(self.table.losses[loss]), np.nanmax(self.table.losses[loss])
        if least >= 0 and most <= 1:
            return MetricAxis(f"1-{loss}")
        return MetricAxis(f"-{loss}", max(0.0, -float(least)), -float(most))

    @cached_property
    def _place(self) -> dict[tuple[int, ...], int]:
        """Index of the first design with each row."""
        return {tuple(row): place for place, row in reversed(list(enumerate(self.table.codes.tolist())))}

    @cached_property
    def _by_choices(self) -> dict[tuple[tuple[str, str], ...], int]:
        return {self._design(place).choices: place for place in self._place.values()}

    def _design(self, place: int) -> TableDesign:
        choices = tuple((name, values[place]) for name, values in self.table.choices.items())
        first, *others = (float(self.table.costs[name][place]) for name in self.costs)
        return TableDesign(choices, first, tuple(others))


def _of_a_table(design: Design) -> TableDesign:
    if not isinstance(design, TableDesign):
        raise TypeError(f"{design.name} is a {type(design).__name__}, and no row of a table")
    return design


def _known_cost(place: int) -> Callable[[Design], float]:
    """Returns a cost that the table gives, in its own unit."""
    return lambda design: _of_a_table(design).costs[place]


def _top(metric: MetricAxis) -> float:
    """The number from which a loss is subtracted to give its metric."""
    return 1.0 if metric.name.startswith("1-") else 0.0


def _check_number(losses: Sequence[str], costs: Sequence[str]) -> None:
    together = [*losses, *costs]
    if repeated := [name for name in losses if losses.count(name) > 1] + [
        name for name in costs if costs.count(name) > 1
    ]:
        raise TableError(f"{repeated[0]} is given twice; name each loss and cost once")
    if len(together) > MOST_OBJECTIVES:
        raise TableError(
            f"at most {MOST_OBJECTIVES} losses and costs are searched together, got {', '.join(together)}; "
            "leave some out"
        )


def _check_tiers(spec: SearchSpec, table: Table, cost: str) -> None:
    costs = table.costs[cost]
    empty = [tier for tier in spec.bounds.tiers if tier < costs.min()]
    if empty:
        raise TableError(
            f"limit.gmacs: no design of the table has a {cost} of {empty[0]:g} or less; it goes from "
            f"{costs.min():g} to {costs.max():g}; give tiers in its unit, with --tiers"
        )


def _check_rungs(spec: SearchSpec, table: Table, loss: str) -> None:
    curve = table.curves.get(loss, {})
    epochs = [rung.epochs for rung in spec.rungs]
    missing = [count for count in epochs if curve and count not in curve]
    if missing or (len(epochs) > 1 and not curve):
        known = f"has it after {', '.join(f'{count:g}' for count in curve)}" if curve else "has it at the end alone"
        raise TableError(
            f"the search measures {loss} after {', '.join(map(str, epochs))} epochs, and the table {known}; "
            "set fidelity.epochs and schedule.rungs to these, or leave the schedule out"
        )
