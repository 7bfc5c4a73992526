"""A search over the designs of a table, with the real sampler, schedule, ledger and search, and without training.

Legend: N designs, D choices.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piip_search.architecture.design import Design
from piip_search.config import SearchSpec
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
        costs_N: Costs of the designs, in the table's unit.
    """

    rows_ND: NDArray[np.intp]
    costs_N: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows_ND)

    @property
    def costs_NC(self) -> NDArray[np.float64]:
        """Known costs that the search trades off, the one with the tiers first."""
        return self.costs_N[:, None]


@dataclass(frozen=True)
class Simulation:
    """A search on a table.

    Attributes:
        spec: Limits, budget, schedule, sampler and seed of the search.
        table: Designs and results.
        loss: Name of the loss to lower.
        cost: Name of the known cost, in the unit of the limits.
    """

    spec: SearchSpec
    table: Table
    loss: str
    cost: str

    @classmethod
    def of(cls, spec: SearchSpec, table: Table, loss: str | None = None, cost: str | None = None) -> "Simulation":
        """Creates a simulation, and checks that the table suits the search.

        Args:
            spec: The search.
            table: The table.
            loss: Name of one of its losses; the first by default.
            cost: Name of one of its costs; the first by default.

        Raises:
            TableError: The loss or cost is missing, no design fits a tier, or the table lacks a rung.
        """
        chosen_loss, chosen_cost = table.loss(loss), table.cost(cost)
        costs = table.costs[chosen_cost]
        empty = [tier for tier in spec.bounds.tiers if tier < costs.min()]
        if empty:
            raise TableError(
                f"limit.gmacs: no design of the table has a {chosen_cost} of {empty[0]:g} or less; it goes from "
                f"{costs.min():g} to {costs.max():g}; give tiers in its unit, with --tiers"
            )
        curve = table.curves.get(chosen_loss, {})
        epochs = [rung.epochs for rung in spec.rungs]
        missing = [count for count in epochs if curve and count not in curve]
        if missing or (len(epochs) > 1 and not curve):
            known = f"has it after {', '.join(f'{count:g}' for count in curve)}" if curve else "has it at the end alone"
            raise TableError(
                f"the search measures {chosen_loss} after {', '.join(map(str, epochs))} epochs, and the table {known}; "
                "set fidelity.epochs and schedule.rungs to these, or leave the schedule out"
            )
        for count in epochs:
            table.times(count)
        return cls(spec, table, chosen_loss, chosen_cost)

    @cached_property
    def objectives(self) -> Objectives:
        """Objectives with the metric 1 - loss if losses are shares, else -loss; its top is 0 or the best value."""
        least, most = np.nanmin(self._losses_N), np.nanmax(self._losses_N)
        metric = MetricAxis(f"-{self.loss}", max(0.0, -float(least)), -float(most))
        if least >= 0 and most <= 1:
            metric = MetricAxis(f"1-{self.loss}")
        axis = CostAxis(CostLabel(self.cost, "", self.cost, self.cost), _known_cost)
        return Objectives((metric,), (axis,), known=(axis,))

    @property
    def dimensions(self) -> tuple[tuple[str, int], ...]:
        """Name and number of values of each choice."""
        names, codes = self.table.choices, self.table.codes
        return tuple((name, int(codes[:, place].max()) + 1) for place, name in enumerate(names))

    @cached_property
    def designs(self) -> TableDesigns:
        """The table's designs within the limit, one for each combination of choices."""
        _, first = np.unique(self.table.codes, axis=0, return_index=True)
        fits = np.sort(first[self.table.costs[self.cost][first] <= self.spec.bounds.tiers[-1]])
        return TableDesigns(self.table.codes[fits], self.table.costs[self.cost][fits])

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
        """The metrics of a design after so many epochs; None if the table has no loss for it."""
        curve = self.table.curves.get(self.loss)
        loss = float((self._losses_N if curve is None else curve[fidelity.epochs])[self.place(design)])
        return {self.objectives.metric: self._top - loss} if np.isfinite(loss) else None

    def loss_of(self, evaluation: Evaluation) -> float | None:
        """The table's loss for an evaluation."""
        value = self.objectives.value(evaluation)
        return None if value is None else self._top - value

    def seconds_until(self, design: Design, epochs: int) -> float:
        """Time from the start to the end of so many epochs."""
        place, times = self.place(design), self.table.times(epochs)
        if times is not None:
            return float(times[place])
        costs = self.table.costs[self.cost]
        return float(SECONDS_AN_EPOCH * max(epochs, 1) * (costs[place] / costs.mean() if costs.any() else 1.0))

    def best(self, tier: float) -> float:
        """The lowest loss within a tier; infinite if none is known."""
        return float(np.fmin.reduce(self._losses_N[self.table.costs[self.cost] <= tier], initial=np.inf))

    def share(self, search: Search, tier: float) -> float:
        """Hypervolume of a search's front within a tier, as a share of the whole table's."""
        reference = self.objectives.reference(tier)
        missing = self._losses_N - self._top + self.objectives.metrics[0].best
        points = np.stack([missing, self.table.costs[self.cost]], 1)
        whole = hypervolume(points[np.isfinite(missing) & (points[:, 1] <= tier)], reference)
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
        features_NF = np.concatenate([self.table.features_NF[places], cost_feature(designs.costs_N)[:, None]], 1)
        sampler = make_sampler(
            spec.sampler,
            self,
            designs,
            spec.budget.trials,
            spec.seed,
            spec.bounds.tiers,
            lambda indices: features_NF[indices],
        )
        policy = policy_of(spec, sampler, self.objectives)
        keywords = {} if clock is None else {"clock": clock}
        recipe = f"{self.loss}/{self.cost}"[:16]
        return Search(run, spec, policy, ledger, recipe, tracker, objectives=self.objectives, **keywords)

    @property
    def _losses_N(self) -> NDArray[np.float64]:
        return self.table.losses[self.loss]

    @property
    def _top(self) -> float:
        """The number from which a loss is subtracted to give a metric."""
        return 1.0 if self.objectives.metric.startswith("1-") else 0.0

    @cached_property
    def _place(self) -> dict[tuple[int, ...], int]:
        """Index of the first design with each row."""
        return {tuple(row): place for place, row in reversed(list(enumerate(self.table.codes.tolist())))}

    @cached_property
    def _by_choices(self) -> dict[tuple[tuple[str, str], ...], int]:
        return {self._design(place).choices: place for place in self._place.values()}

    def _design(self, place: int) -> TableDesign:
        choices = tuple((name, values[place]) for name, values in self.table.choices.items())
        return TableDesign(choices, float(self.table.costs[self.cost][place]))


def _of_a_table(design: Design) -> TableDesign:
    if not isinstance(design, TableDesign):
        raise TypeError(f"{design.name} is a {type(design).__name__}, and no row of a table")
    return design


def _known_cost(design: Design) -> float:
    """The cost that the table gives, in its own unit."""
    return _of_a_table(design).cost
